// pulumi-resource-scaleway: the real Terraform provider for Scaleway, served to Pulumi under the tokens and property
// names of the npm package @pulumiverse/scaleway.
package main

import (
	"strings"

	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	tfshim "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim"
	shimv2 "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim/sdk-v2"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"github.com/scaleway/terraform-provider-scaleway/v2/provider"
)

// version is the npm package's, set when linking.
var version = "0.0.0"

// modules says under which Pulumi module a family of Terraform types is found. A family that is not here is not served.
var modules = map[string]string{
	"account":  "account",
	"block":    "block",
	"domain":   "domain",
	"iam":      "iam",
	"instance": "instance",
	"ipam":     "ipam",
	"vpc":      "network",
}

// irregular are the data sources whose tokens do not follow from their Terraform names.
var irregular = map[string]string{
	"scaleway_availability_zones": "scaleway:account/getAvailabilityZones:getAvailabilityZones",
	"scaleway_marketplace_image":  "scaleway:index/getMarketplaceImage:getMarketplaceImage",
	"scaleway_vpcs":               "scaleway:network/getVpcs:getVpcs",
}

func main() {
	tfbridge.Main("scaleway", version, providerInfo(), nil)
}

func providerInfo() tfbridge.ProviderInfo {
	shim := shimv2.NewProvider(provider.SDKProvider(provider.DefaultConfig())())
	info := tfbridge.ProviderInfo{
		P:            shim,
		Name:         "scaleway",
		Version:      version,
		MetadataInfo: tfbridge.NewProviderMetadata([]byte("{}")),
		Resources:    map[string]*tfbridge.ResourceInfo{},
		DataSources:  map[string]*tfbridge.DataSourceInfo{},
	}
	shim.ResourcesMap().Range(func(name string, _ tfshim.Resource) bool {
		if module, noun, served := place(name); served {
			token := "scaleway:" + module + "/" + lowerFirst(noun) + ":" + noun
			info.Resources[name] = &tfbridge.ResourceInfo{Tok: tokens.Type(token)}
		}
		return true
	})
	shim.DataSourcesMap().Range(func(name string, _ tfshim.Resource) bool {
		if token, found := irregular[name]; found {
			info.DataSources[name] = &tfbridge.DataSourceInfo{Tok: tokens.ModuleMember(token)}
		} else if module, noun, served := place(name); served {
			token := "scaleway:" + module + "/get" + noun + ":get" + noun
			info.DataSources[name] = &tfbridge.DataSourceInfo{Tok: tokens.ModuleMember(token)}
		}
		return true
	})
	return info
}

// place splits a Terraform type into its Pulumi module and its noun in PascalCase:
// scaleway_instance_private_nic is PrivateNic in instance, scaleway_vpc is Vpc in network.
func place(terraformType string) (module, noun string, served bool) {
	words := strings.Split(terraformType, "_")[1:]
	module, served = modules[words[0]]
	if len(words) > 1 {
		words = words[1:]
	}
	for _, word := range words {
		noun += strings.ToUpper(word[:1]) + word[1:]
	}
	return module, noun, served
}

func lowerFirst(text string) string {
	return strings.ToLower(text[:1]) + text[1:]
}
