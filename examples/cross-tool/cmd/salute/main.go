package main

import (
	"fmt"
	"os"

	"example.org/salute/words"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "version" {
		fmt.Println(words.Version, words.Channel)
		return
	}
	names := os.Args[1:]
	if len(names) == 0 {
		names = []string{""}
	}
	for _, name := range names {
		fmt.Println(words.For(name))
	}
}
