package random

import (
	"context"
	"slices"
	"strings"
	"testing"

	"flathub.org/infrastructure/engine/plugins/npm"
	"github.com/blang/semver"
	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/integration"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
	"golang.org/x/crypto/bcrypt"
)

var urn = resource.NewURN("stack", "project", "", "random:index/randomPassword:RandomPassword", "name")

func serve(t *testing.T) integration.Server {
	t.Helper()
	provider, err := Provider()
	if err != nil {
		t.Fatal(err)
	}
	server, err := integration.NewServer(
		context.Background(), "random", semver.MustParse("4.21.1"), integration.WithProvider(provider))
	if err != nil {
		t.Fatal(err)
	}
	return server
}

func create(t *testing.T, inputs map[string]property.Value) property.Map {
	t.Helper()
	server := serve(t)
	checked, err := server.Check(p.CheckRequest{Urn: urn, Inputs: property.NewMap(inputs)})
	if err != nil || len(checked.Failures) > 0 {
		t.Fatalf("refused: %v, %v", checked.Failures, err)
	}
	made, err := server.Create(p.CreateRequest{Urn: urn, Properties: checked.Inputs})
	if err != nil {
		t.Fatal(err)
	}
	return made.Properties
}

func TestMakesASecretPassword(t *testing.T) {
	made := create(t, map[string]property.Value{"length": property.New(40.0), "special": property.New(false)})
	result, hash := made.Get("result"), made.Get("bcryptHash")
	if !result.Secret() || !hash.Secret() {
		t.Error("the password or its hash is not secret")
	}
	if len(result.AsString()) != 40 || strings.Trim(result.AsString(), lower+upper+numeric) != "" {
		t.Errorf("%q is not 40 letters and digits", result.AsString())
	}
	if bcrypt.CompareHashAndPassword([]byte(hash.AsString()), []byte(result.AsString())) != nil {
		t.Error("the hash is not the password's")
	}
	again := create(t, map[string]property.Value{"length": property.New(40.0)})
	if again.Get("result").AsString() == result.AsString() {
		t.Error("two passwords are the same")
	}
	for _, field := range []string{"lower", "upper", "numeric", "number"} {
		if !made.Get(field).AsBool() {
			t.Errorf("%s is not true by default", field)
		}
	}
}

func TestMinimumsAndOwnSpecials(t *testing.T) {
	for range 50 {
		password := create(t, map[string]property.Value{
			"length": property.New(8.0), "minUpper": property.New(2.0), "minNumeric": property.New(2.0),
			"minSpecial": property.New(3.0), "overrideSpecial": property.New("."), "lower": property.New(false),
		}).Get("result").AsString()
		count := func(characters string) int {
			return len(password) - len(strings.Map(func(r rune) rune {
				if strings.ContainsRune(characters, r) {
					return -1
				}
				return r
			}, password))
		}
		if len(password) != 8 || count(upper) < 2 || count(numeric) < 2 || count(".") < 3 || count(lower) > 0 {
			t.Fatalf("%q does not keep its minimums", password)
		}
	}
}

func TestLongerThanBcryptTakes(t *testing.T) {
	made := create(t, map[string]property.Value{"length": property.New(100.0)})
	if len(made.Get("result").AsString()) != 100 || made.Get("bcryptHash").AsString() == "" {
		t.Error("no password of 100 characters with a hash")
	}
}

func TestEveryChangeReplaces(t *testing.T) {
	keepers := func(value string) property.Value {
		return property.New(map[string]property.Value{"key": property.New(value)})
	}
	olds := property.NewMap(map[string]property.Value{"length": property.New(20.0), "keepers": keepers("a")})
	for field, value := range map[string]property.Value{"keepers": keepers("b"), "length": property.New(21.0)} {
		diff, err := serve(t).Diff(p.DiffRequest{
			ID: "none", Urn: urn, State: olds, OldInputs: olds, Inputs: olds.Set(field, value),
		})
		if err != nil {
			t.Fatal(err)
		}
		for path, change := range diff.DetailedDiff {
			if change.Kind != p.UpdateReplace {
				t.Errorf("a change of %s is a %s of %s, want a replacement", field, change.Kind, path)
			}
		}
		if len(diff.DetailedDiff) == 0 {
			t.Errorf("a change of %s changes nothing", field)
		}
	}
}

func TestRefusesByName(t *testing.T) {
	for name, test := range map[string]struct {
		inputs map[string]property.Value
		field  string
	}{
		"misspelt":  {map[string]property.Value{"lenght": property.New(3.0), "length": property.New(3.0)}, "lenght"},
		"too short": {map[string]property.Value{"length": property.New(3.0), "minLower": property.New(4.0)}, "length"},
		"negative":  {map[string]property.Value{"length": property.New(3.0), "minLower": property.New(-1.0)}, "minLower"},
		"forbidden": {map[string]property.Value{
			"length": property.New(3.0), "minUpper": property.New(1.0), "upper": property.New(false),
		}, "minUpper"},
		"contradiction": {map[string]property.Value{
			"length": property.New(3.0), "number": property.New(true), "numeric": property.New(false),
		}, "number"},
		"nothing left": {map[string]property.Value{
			"length": property.New(3.0), "lower": property.New(false), "upper": property.New(false),
			"numeric": property.New(false), "special": property.New(false),
		}, "lower"},
	} {
		t.Run(name, func(t *testing.T) {
			checked, err := serve(t).Check(p.CheckRequest{Urn: urn, Inputs: property.NewMap(test.inputs)})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(checked.Failures, func(failure p.CheckFailure) bool {
				return failure.Property == test.field && strings.Contains(failure.Reason, test.field)
			}) {
				t.Errorf("the check says %v, nothing of %s", checked.Failures, test.field)
			}
		})
	}
}

func TestTakesEveryFieldOfTheNpmPackage(t *testing.T) {
	want, err := npm.Fields("@pulumi/random/randomPassword.d.ts", "RandomPasswordArgs")
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
	made := create(t, map[string]property.Value{"length": property.New(3.0)})
	state, err := npm.Fields("@pulumi/random/randomPassword.d.ts", "RandomPasswordState")
	if err != nil {
		t.Fatal(err)
	}
	for field := range made.All {
		if !slices.Contains(state, field) {
			t.Errorf("has the output %s, which the npm package does not know", field)
		}
	}
}
