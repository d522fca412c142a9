package remote

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
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
)

const (
	commandToken = "command:remote:Command"
	copyToken    = "command:remote:CopyToRemote"
)

func serve(t *testing.T) integration.Server {
	t.Helper()
	provider, err := Provider()
	if err != nil {
		t.Fatal(err)
	}
	server, err := integration.NewServer(
		context.Background(), "command", semver.MustParse("1.2.1"), integration.WithProvider(provider))
	if err != nil {
		t.Fatal(err)
	}
	return server
}

func urnOf(token string) resource.URN {
	return resource.NewURN("stack", "project", "", tokens.Type(token), "name")
}

func object(pairs ...any) map[string]property.Value {
	made := map[string]property.Value{}
	for index := 0; index < len(pairs); index += 2 {
		switch value := pairs[index+1].(type) {
		case string:
			made[pairs[index].(string)] = property.New(value)
		case float64:
			made[pairs[index].(string)] = property.New(value)
		case map[string]property.Value:
			made[pairs[index].(string)] = property.New(value)
		case property.Value:
			made[pairs[index].(string)] = value
		}
	}
	return made
}

func validConnection() map[string]property.Value {
	return object("host", "10.0.0.1", "hostKey", "ssh-ed25519 AAAA", "privateKey", "key", "user", "root", "port", 22.0,
		"dialErrorLimit", -1.0, "perDialTimeout", 15.0)
}

func check(t *testing.T, token string, inputs map[string]property.Value) p.CheckResponse {
	t.Helper()
	response, err := serve(t).Check(p.CheckRequest{Urn: urnOf(token), Inputs: property.NewMap(inputs)})
	if err != nil {
		t.Fatal(err)
	}
	return response
}

func TestServesTheOfficialTokensAndInputs(t *testing.T) {
	response, err := serve(t).GetSchema(p.GetSchemaRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{commandToken, copyToken} {
		if !strings.Contains(response.Schema, `"`+token+`"`) {
			t.Errorf("%s is not in the schema", token)
		}
	}
}

// Every field that the npm package's types allow is either taken or refused by name.
func TestNoFieldIsIgnored(t *testing.T) {
	for _, test := range []struct{ file, name, token, under string }{
		{"@pulumi/command/remote/command.d.ts", "CommandArgs", commandToken, ""},
		{"@pulumi/command/remote/copyToRemote.d.ts", "CopyToRemoteArgs", copyToken, ""},
		{"@pulumi/command/types/input.d.ts", "ConnectionArgs", commandToken, "connection"},
		{"@pulumi/command/types/input.d.ts", "ProxyConnectionArgs", commandToken, "connection.proxy"},
	} {
		t.Run(test.name, func(t *testing.T) {
			fields, err := npm.Fields(test.file, test.name)
			if err != nil {
				t.Fatal(err)
			}
			if len(fields) < 4 {
				t.Fatalf("read only the fields %q", fields)
			}
			for _, field := range append(fields, "misspelt") {
				inputs := object("connection", validConnection())
				value := property.New("value")
				switch test.under {
				case "":
					inputs[field] = value
				case "connection":
					connection := validConnection()
					connection[field] = value
					inputs = object("connection", connection)
				default:
					connection, proxy := validConnection(), validConnection()
					proxy[field] = value
					connection["proxy"] = property.New(proxy)
					inputs = object("connection", connection)
				}
				path := strings.TrimPrefix(test.under+"."+field, ".")
				named := slices.ContainsFunc(check(t, test.token, inputs).Failures, func(failure p.CheckFailure) bool {
					return failure.Property == path && (strings.Contains(failure.Reason, path+" is not ") ||
						strings.Contains(failure.Reason, "Unrecognized field '"+field+"'"))
				})
				if want := field == "misspelt" || (test.under != "" && slices.Contains(refused, field)); named != want {
					t.Errorf("%s refused by name: %t, want %t", path, named, want)
				}
			}
		})
	}
}

func TestRefusesConnectionsThatCheckNothing(t *testing.T) {
	for _, field := range []string{"hostKey", "privateKey"} {
		for _, path := range []string{"connection", "connection.proxy"} {
			connection, proxy := validConnection(), validConnection()
			if path == "connection" {
				delete(connection, field)
			} else {
				delete(proxy, field)
			}
			connection["proxy"] = property.New(proxy)
			failures := check(t, copyToken, object("connection", property.New(connection).WithSecret(true),
				"remotePath", "/tmp/a", "source", "x")).Failures
			if !slices.ContainsFunc(failures, func(failure p.CheckFailure) bool {
				return failure.Property == path+"."+field && strings.Contains(failure.Reason, "is missing")
			}) {
				t.Errorf("%s.%s is missing, and the check says %v", path, field, failures)
			}
		}
	}
}

func TestAPreviewTakesKeysThatAreNotKnownYet(t *testing.T) {
	connection := validConnection()
	connection["hostKey"] = property.New(property.Computed)
	connection["privateKey"] = property.New(property.Computed).WithSecret(true)
	for _, inputs := range []map[string]property.Value{
		object("connection", connection, "create", "true"),
		object("connection", property.New(property.Computed), "create", "true"),
	} {
		if failures := check(t, commandToken, inputs).Failures; len(failures) > 0 {
			t.Errorf("refused: %v", failures)
		}
	}
}

func TestRefusesAnUnknownLogging(t *testing.T) {
	failures := check(t, commandToken, object("connection", validConnection(), "logging", "everything")).Failures
	if len(failures) != 1 || failures[0].Property != "logging" {
		t.Errorf("the check says %v", failures)
	}
}

func TestTheConnectionIsSecret(t *testing.T) {
	inputs := check(t, commandToken, object("connection", validConnection(), "create", "true")).Inputs
	if !inputs.Get("connection").Secret() {
		t.Error("the connection, with its private key, is not secret")
	}
}

// The plugin itself replaces nothing: that a changed trigger replaces is the npm package's doing (replaceOnChanges).
func TestChangesAreUpdates(t *testing.T) {
	other := validConnection()
	other["host"] = property.New("10.0.0.2")
	trigger := property.New([]property.Value{property.New("another server")})
	for _, test := range []struct {
		token, field string
		value        property.Value
	}{
		{commandToken, "triggers", trigger},
		{commandToken, "create", property.New("false")},
		{commandToken, "stdin", property.New("new")},
		{commandToken, "environment", property.New(object("A", "b"))},
		{commandToken, "connection", property.New(other)},
		{copyToken, "triggers", trigger},
		{copyToken, "remotePath", property.New("/tmp/b")},
		{copyToken, "connection", property.New(other)},
	} {
		olds := object("connection", validConnection(), "create", "true",
			"triggers", property.New([]property.Value{property.New("server")}))
		if test.token == copyToken {
			delete(olds, "create")
			olds["remotePath"] = property.New("/tmp/a")
		}
		news := object()
		for field, value := range olds {
			news[field] = value
		}
		news[test.field] = test.value
		diff, err := serve(t).Diff(p.DiffRequest{
			ID: "id", Urn: urnOf(test.token), State: property.NewMap(olds),
			OldInputs: property.NewMap(olds), Inputs: property.NewMap(news),
		})
		if err != nil {
			t.Fatal(err)
		}
		replaces := false
		for _, change := range diff.DetailedDiff {
			switch change.Kind {
			case p.AddReplace, p.DeleteReplace, p.UpdateReplace:
				replaces = true
			}
		}
		if !diff.HasChanges || replaces {
			t.Errorf("%s.%s: changes %t, replaces %t; want an update", test.token, test.field, diff.HasChanges, replaces)
		}
	}
}

func TestOutputsAreAsSecretAsTheCommands(t *testing.T) {
	login := newKey(t)
	server := startSSHD(t, login)
	connection := object("host", "127.0.0.1", "port", float64(server.port), "hostKey", server.host.public,
		"privateKey", login.private, "dialErrorLimit", 0.0)
	for _, secret := range []bool{false, true} {
		inputs := object("connection", property.New(connection).WithSecret(true),
			"create", property.New("echo out; echo err >&2").WithSecret(secret),
			"stdin", property.New("hidden").WithSecret(true))
		made, err := serve(t).Create(p.CreateRequest{Urn: urnOf(commandToken), Properties: property.NewMap(inputs)})
		if err != nil {
			t.Fatal(err)
		}
		if stdout := made.Properties.Get("stdout"); stdout.AsString() != "out" || stdout.Secret() != secret {
			t.Errorf("with a secret command %t, stdout is %v", secret, stdout)
		}
		for _, field := range []string{"connection", "stdin"} {
			if !made.Properties.Get(field).Secret() {
				t.Errorf("the output %s is not secret", field)
			}
		}
	}
}
