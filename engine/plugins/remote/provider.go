// Package remote stands in for Pulumi's command plugin: the resources remote.Command and remote.CopyToRemote, with the
// tokens, inputs and outputs of the npm package @pulumi/command 1.2.1, over connections that check every host key.
package remote

import (
	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
)

// Provider serves the two resources.
func Provider() (p.Provider, error) {
	return infer.NewProviderBuilder().
		WithResources(infer.Resource(&Command{}), infer.Resource(&CopyToRemote{})).
		Build()
}
