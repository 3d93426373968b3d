"""Where the values of caches come from: applications, databases and web servers, each within its bounds."""
