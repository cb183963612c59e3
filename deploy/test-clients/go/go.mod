module example.com/novatest

go 1.22
