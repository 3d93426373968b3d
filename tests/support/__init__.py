"""What several kinds of tests share: real servers, and real sidecars in front of them."""
