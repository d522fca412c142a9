package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	shim "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim"
)

const npmPackage = "../../node_modules/@pulumiverse/scaleway"

// servedByNone are what the Terraform provider serves through its plugin framework only, which is not bridged here.
var servedByNone = []string{
	"scaleway:iam/getSaml:getSaml", "scaleway:iam/getSamlCertificate:getSamlCertificate", "scaleway:iam/getScim:getScim",
	"scaleway:iam/getScimToken:getScimToken", "scaleway:iam/saml:Saml", "scaleway:iam/samlCertificate:SamlCertificate",
	"scaleway:iam/scim:Scim", "scaleway:iam/scimToken:ScimToken",
}

func npmTokens(t *testing.T) []string {
	t.Helper()
	token := regexp.MustCompile(`__pulumiType = '([^']+)'|invoke\("([^"]+)"`)
	var found []string
	for module := range map[string]bool{"account": true, "block": true, "domain": true, "iam": true, "instance": true,
		"ipam": true, "network": true} {
		files, err := filepath.Glob(filepath.Join(npmPackage, module, "*.js"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no files of the npm package for %s: run npm ci first", module)
		}
		for _, file := range files {
			for _, match := range token.FindAllStringSubmatch(read(t, file), -1) {
				found = append(found, match[1]+match[2])
			}
		}
	}
	return found
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v: run npm ci first", err)
	}
	return string(text)
}

func TestServesTheTokensOfTheNpmPackage(t *testing.T) {
	info := providerInfo()
	var served []string
	for _, resource := range info.Resources {
		served = append(served, string(resource.Tok))
	}
	for _, source := range info.DataSources {
		served = append(served, string(source.Tok))
	}
	tokens := npmTokens(t)
	if len(tokens) < 80 {
		t.Fatalf("read only %d tokens", len(tokens))
	}
	for _, token := range tokens {
		if !slices.Contains(served, token) && !slices.Contains(servedByNone, token) {
			t.Errorf("%s is not served", token)
		}
	}
	for _, token := range served {
		if !slices.Contains(tokens, token) && token != irregular["scaleway_marketplace_image"] {
			t.Errorf("%s is served, but the npm package does not know it", token)
		}
	}
}

// The names of all properties, nested ones too, are those of the npm package's types.
func TestPropertiesHaveTheNamesOfTheNpmPackage(t *testing.T) {
	info := providerInfo()
	for terraformType, class := range map[string]string{
		"scaleway_block_volume":            "block/volume.Volume",
		"scaleway_iam_ssh_key":             "iam/sshKey.SshKey",
		"scaleway_instance_ip":             "instance/ip.Ip",
		"scaleway_instance_private_nic":    "instance/privateNic.PrivateNic",
		"scaleway_instance_security_group": "instance/securityGroup.SecurityGroup",
		"scaleway_instance_server":         "instance/server.Server",
		"scaleway_ipam_ip":                 "ipam/ip.Ip",
		"scaleway_vpc":                     "network/vpc.Vpc",
		"scaleway_vpc_private_network":     "network/privateNetwork.PrivateNetwork",
	} {
		t.Run(class, func(t *testing.T) {
			file, name, _ := strings.Cut(class, ".")
			text := read(t, filepath.Join(npmPackage, file+".d.ts"))
			schema := info.P.ResourcesMap().Get(terraformType).Schema()
			compare(t, name, schema, stateOf, declared(t, text, name+"State"))
			compare(t, name, schema, inputs, declared(t, text, name+"Args"))
		})
	}
}

func everything(string, shim.Schema) bool { return true }

// stateOf leaves out the resource's own ID, which is not among its properties.
func stateOf(name string, _ shim.Schema) bool { return name != "id" }

func inputs(name string, schema shim.Schema) bool {
	return name != "id" && (schema.Optional() || schema.Required())
}

// declared maps an interface's properties to their types.
func declared(t *testing.T, text, name string) map[string]string {
	t.Helper()
	_, body, found := strings.Cut(text, "interface "+name+" {\n")
	if !found {
		t.Fatalf("the npm package declares no %s", name)
	}
	indent := body[:len(body)-len(strings.TrimLeft(body, " "))]
	body, _, _ = strings.Cut(body, "\n"+strings.TrimSuffix(indent, "    ")+"}")
	properties := map[string]string{}
	for _, match := range regexp.MustCompile(`(?m)^`+indent+`(\w+)\??: (.*)$`).FindAllStringSubmatch(body, -1) {
		properties[match[1]] = match[2]
	}
	return properties
}

var nestedType = regexp.MustCompile(`inputs\.(\w+)\.(\w+)`)

func compare(
	t *testing.T, where string, schema shim.SchemaMap, wanted func(string, shim.Schema) bool, want map[string]string,
) {
	t.Helper()
	var got []string
	schema.Range(func(name string, property shim.Schema) bool {
		if !wanted(name, property) {
			return true
		}
		pulumiName := tfbridge.TerraformToPulumiNameV2(name, schema, nil)
		got = append(got, pulumiName)
		nested, isNested := property.Elem().(shim.Resource)
		reference := nestedType.FindStringSubmatch(want[pulumiName])
		if isNested && reference != nil {
			types := read(t, filepath.Join(npmPackage, "types/input.d.ts"))
			_, types, _ = strings.Cut(types, fmt.Sprintf("export declare namespace %s {\n", reference[1]))
			// The npm package has one type for a nested object's inputs and its state.
			compare(t, where+"."+pulumiName, nested.Schema(), everything, declared(t, types, reference[2]))
		}
		return true
	})
	for _, name := range got {
		if _, found := want[name]; !found {
			t.Errorf("%s.%s is not in the npm package", where, name)
		}
	}
	for name := range want {
		if !slices.Contains(got, name) {
			t.Errorf("the npm package's %s.%s does not exist", where, name)
		}
	}
}
