package main

import "fmt"

func main() {
	fmt.Println("Hello from an image that says what is in it!")
}
