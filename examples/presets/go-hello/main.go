// Command hello greets whoever is named, or everybody.
package main

import (
	"fmt"
	"os"
)

func greeting(names []string) string {
	if len(names) == 0 {
		return "Hello from Go!"
	}
	return fmt.Sprintf("Hello, %s!", names[0])
}

func main() {
	fmt.Println(greeting(os.Args[1:]))
}
