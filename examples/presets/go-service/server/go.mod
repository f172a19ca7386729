module example.org/worldclock/server

go 1.19

require example.org/worldclock/zones v0.0.0
