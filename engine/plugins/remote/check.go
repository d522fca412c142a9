package remote

import (
	"slices"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
)

// refused are inputs that the npm package's types allow and this plugin does not support. They are refused by name, so
// that none is silently ignored.
var refused = []string{"password", "privateKeyPassword", "agentSocketPath"}

var endpointFields = []string{"host", "port", "user", "privateKey", "hostKey", "dialErrorLimit", "perDialTimeout"}

// checkConnection finds what is wrong with a connection before anything is made. What is not known yet (during a
// preview) is let through; connect looks again.
func checkConnection(inputs property.Map) []p.CheckFailure {
	connection, found := inputs.GetOk("connection")
	if !found || !connection.IsMap() {
		return nil
	}
	failures := checkEndpoint("connection", connection.AsMap(), append([]string{"proxy"}, endpointFields...))
	if proxy, found := connection.AsMap().GetOk("proxy"); found && proxy.IsMap() {
		failures = append(failures, checkEndpoint("connection.proxy", proxy.AsMap(), endpointFields)...)
	}
	return failures
}

func checkEndpoint(where string, endpoint property.Map, allowed []string) (failures []p.CheckFailure) {
	for field, value := range endpoint.All {
		if value.IsNull() || slices.Contains(allowed, field) {
			continue
		}
		reason := "is not an input"
		if slices.Contains(refused, field) {
			reason = "is not supported by this stand-in for the command plugin: log in with privateKey, unencrypted"
		}
		failures = append(failures, p.CheckFailure{Property: where + "." + field, Reason: where + "." + field + " " + reason})
	}
	for _, field := range []string{"hostKey", "privateKey"} {
		value, found := endpoint.GetOk(field)
		if !found || value.IsNull() || (value.IsString() && value.AsString() == "") {
			failures = append(failures, p.CheckFailure{
				Property: where + "." + field,
				Reason:   where + "." + field + " is missing: this stand-in for the command plugin requires it",
			})
		}
	}
	return failures
}
