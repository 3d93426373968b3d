module sidecar.test/envelope

go 1.21
