// pulumi-resource-random stands in for Pulumi's random plugin.
package main

import (
	"context"
	"fmt"
	"os"

	"flathub.org/infrastructure/engine/plugins/random"
)

// version is the npm package's, set when linking.
var version = "0.0.0"

func main() {
	provider, err := random.Provider()
	if err == nil {
		err = provider.Run(context.Background(), "random", version)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "pulumi-resource-random:", err)
		os.Exit(1)
	}
}
