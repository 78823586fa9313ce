package main

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"os"
	"strings"

	"github.com/hamba/avro/v2"
)

// Arguments: schema, purpose, file of a value. Prints whether the entry permits, then, for each line of standard input
// (secret in base64, key id, tenant, channel, canonical address, separated by tabs), its address key.
func main() {
	written, err := avro.ParseFiles(os.Args[1])
	must(err)
	value, err := os.ReadFile(os.Args[3])
	must(err)
	permitted, err := permits(value, written, os.Args[2])
	must(err)
	fmt.Println(permitted)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.Split(lines.Text(), "\t")
		secret, err := base64.StdEncoding.DecodeString(words[0])
		must(err)
		fmt.Println(addressKey(secret, words[1], words[2], words[3], words[4]))
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
