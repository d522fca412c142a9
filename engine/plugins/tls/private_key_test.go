package tls

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"testing"

	"flathub.org/infrastructure/engine/plugins/npm"
	"github.com/blang/semver"
	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/integration"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
	"golang.org/x/crypto/ssh"
)

var urn = resource.NewURN("stack", "project", "", "tls:index/privateKey:PrivateKey", "name")

func serve(t *testing.T) integration.Server {
	t.Helper()
	provider, err := Provider()
	if err != nil {
		t.Fatal(err)
	}
	server, err := integration.NewServer(
		context.Background(), "tls", semver.MustParse("5.5.1"), integration.WithProvider(provider))
	if err != nil {
		t.Fatal(err)
	}
	return server
}

func TestEveryFormIsOfTheSameKey(t *testing.T) {
	for name, test := range map[string]struct {
		inputs             map[string]property.Value
		sshType, blockType string
	}{
		"ED25519": {map[string]property.Value{"algorithm": property.New("ED25519")}, "ssh-ed25519", "PRIVATE KEY"},
		"ECDSA": {map[string]property.Value{
			"algorithm": property.New("ECDSA"), "ecdsaCurve": property.New("P256"),
		}, "ecdsa-sha2-nistp256", "EC PRIVATE KEY"},
		"RSA": {map[string]property.Value{
			"algorithm": property.New("RSA"), "rsaBits": property.New(3072.0),
		}, "ssh-rsa", "RSA PRIVATE KEY"},
	} {
		t.Run(name, func(t *testing.T) {
			made, err := serve(t).Create(p.CreateRequest{Urn: urn, Properties: property.NewMap(test.inputs)})
			if err != nil {
				t.Fatal(err)
			}
			get := func(field string) string { return made.Properties.Get(field).AsString() }
			public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(get("publicKeyOpenssh")))
			if err != nil || public.Type() != test.sshType || !strings.HasSuffix(get("publicKeyOpenssh"), "\n") {
				t.Fatalf("publicKeyOpenssh is %q, %v", get("publicKeyOpenssh"), err)
			}
			for _, field := range []string{"privateKeyOpenssh", "privateKeyPem", "privateKeyPemPkcs8"} {
				signer, err := ssh.ParsePrivateKey([]byte(get(field)))
				if err != nil {
					t.Fatalf("%s: %v", field, err)
				}
				if string(signer.PublicKey().Marshal()) != string(public.Marshal()) {
					t.Errorf("%s is another key", field)
				}
				if !made.Properties.Get(field).Secret() {
					t.Errorf("%s is not secret", field)
				}
			}
			if block, _ := pem.Decode([]byte(get("privateKeyPem"))); block.Type != test.blockType {
				t.Errorf("privateKeyPem is a %q, want a %q", block.Type, test.blockType)
			}
			block, _ := pem.Decode([]byte(get("publicKeyPem")))
			parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			same, ok := public.(ssh.CryptoPublicKey).CryptoPublicKey().(interface{ Equal(crypto.PublicKey) bool })
			if !ok || !same.Equal(parsed) {
				t.Error("publicKeyPem is another key")
			}
			if get("publicKeyFingerprintSha256") != ssh.FingerprintSHA256(public) ||
				get("publicKeyFingerprintMd5") != ssh.FingerprintLegacyMD5(public) {
				t.Error("a fingerprint is another key's")
			}
			if made.Properties.Get("publicKeyOpenssh").Secret() || made.ID == "" {
				t.Error("the public key is secret, or there is no ID")
			}
		})
	}
}

func TestEveryChangeReplaces(t *testing.T) {
	olds := property.NewMap(map[string]property.Value{"algorithm": property.New("ED25519")})
	diff, err := serve(t).Diff(p.DiffRequest{
		ID: "id", Urn: urn, State: olds, OldInputs: olds, Inputs: olds.Set("algorithm", property.New("RSA")),
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff.DetailedDiff["algorithm"].Kind != p.UpdateReplace {
		t.Errorf("a change of algorithm is %v, want a replacement", diff.DetailedDiff)
	}
}

func TestRefusesByName(t *testing.T) {
	for field, inputs := range map[string]map[string]property.Value{
		"algorithm":  {"algorithm": property.New("DSA")},
		"ecdsaCurve": {"algorithm": property.New("ECDSA")},
		"rsaBits":    {"algorithm": property.New("RSA"), "rsaBits": property.New(1024.0)},
		"curve":      {"algorithm": property.New("ED25519"), "curve": property.New("P256")},
	} {
		checked, err := serve(t).Check(p.CheckRequest{Urn: urn, Inputs: property.NewMap(inputs)})
		if err != nil {
			t.Fatal(err)
		}
		if len(checked.Failures) != 1 || checked.Failures[0].Property != field ||
			!strings.Contains(checked.Failures[0].Reason, field) {
			t.Errorf("the check says %v, want one failure of %s", checked.Failures, field)
		}
	}
}

func TestTakesEveryFieldOfTheNpmPackage(t *testing.T) {
	want, err := npm.Fields("@pulumi/tls/privateKey.d.ts", "PrivateKeyArgs")
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range append(want, "misspelt") {
		inputs := property.NewMap(map[string]property.Value{field: property.New("value")})
		checked, err := serve(t).Check(p.CheckRequest{Urn: urn, Inputs: inputs})
		if err != nil {
			t.Fatal(err)
		}
		unknown := slices.ContainsFunc(checked.Failures, func(failure p.CheckFailure) bool {
			return failure.Property == field && strings.Contains(failure.Reason, "Unrecognized")
		})
		if unknown != (field == "misspelt") {
			t.Errorf("%s refused as unknown: %t", field, unknown)
		}
	}
	state, err := npm.Fields("@pulumi/tls/privateKey.d.ts", "PrivateKeyState")
	if err != nil {
		t.Fatal(err)
	}
	made, err := serve(t).Create(p.CreateRequest{Urn: urn, Properties: property.NewMap(
		map[string]property.Value{"algorithm": property.New("ED25519")})})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for field := range made.Properties.All {
		got = append(got, field)
	}
	slices.Sort(got)
	slices.Sort(state)
	if !slices.Equal(got, state) {
		t.Errorf("has the outputs %q, the npm package has %q", got, state)
	}
}
