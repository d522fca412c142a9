// pulumi-resource-command stands in for Pulumi's command plugin.
package main

import (
	"context"
	"fmt"
	"os"

	"flathub.org/infrastructure/engine/plugins/remote"
)

// version is the npm package's, set when linking.
var version = "0.0.0"

func main() {
	provider, err := remote.Provider()
	if err == nil {
		err = provider.Run(context.Background(), "command", version)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "pulumi-resource-command:", err)
		os.Exit(1)
	}
}
