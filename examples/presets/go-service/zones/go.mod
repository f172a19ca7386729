module example.org/worldclock/zones

go 1.19
