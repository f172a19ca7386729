module example.org/salute

go 1.19
