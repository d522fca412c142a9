// pulumi-resource-tls stands in for Pulumi's tls plugin.
package main

import (
	"context"
	"fmt"
	"os"

	"flathub.org/infrastructure/engine/plugins/tls"
)

// version is the npm package's, set when linking.
var version = "0.0.0"

func main() {
	provider, err := tls.Provider()
	if err == nil {
		err = provider.Run(context.Background(), "tls", version)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "pulumi-resource-tls:", err)
		os.Exit(1)
	}
}
