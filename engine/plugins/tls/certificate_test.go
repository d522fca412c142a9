package tls

import (
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"time"

	"flathub.org/infrastructure/engine/plugins/npm"
	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
)

var (
	selfSigned    = resource.NewURN("stack", "project", "", "tls:index/selfSignedCert:SelfSignedCert", "name")
	request       = resource.NewURN("stack", "project", "", "tls:index/certRequest:CertRequest", "name")
	locallySigned = resource.NewURN("stack", "project", "", "tls:index/locallySignedCert:LocallySignedCert", "name")
)

type values = map[string]property.Value

func create(t *testing.T, urn resource.URN, inputs values) property.Map {
	t.Helper()
	server := serve(t)
	checked, err := server.Check(p.CheckRequest{Urn: urn, Inputs: property.NewMap(inputs)})
	if err != nil || len(checked.Failures) > 0 {
		t.Fatalf("the check says %v, %v", checked.Failures, err)
	}
	made, err := server.Create(p.CreateRequest{Urn: urn, Properties: checked.Inputs})
	if err != nil {
		t.Fatal(err)
	}
	if made.ID == "" {
		t.Error("there is no ID")
	}
	return made.Properties
}

func texts(list ...string) property.Value {
	var result []property.Value
	for _, text := range list {
		result = append(result, property.New(text))
	}
	return property.New(result)
}

func certificate(t *testing.T, state property.Map) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode([]byte(state.Get("certPem").AsString()))
	parsed, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func key(t *testing.T) property.Value {
	t.Helper()
	made := create(t, urn, values{"algorithm": property.New("ECDSA"), "ecdsaCurve": property.New("P256")})
	return made.Get("privateKeyPem")
}

func named(name string) property.Value {
	return property.New(values{"commonName": property.New(name), "organization": property.New("Flathub")})
}

func authorityInputs(key property.Value) values {
	return values{
		"privateKeyPem":       key,
		"subject":             named("authority"),
		"isCaCertificate":     property.New(true),
		"setSubjectKeyId":     property.New(true),
		"allowedUses":         texts("cert_signing"),
		"validityPeriodHours": property.New(1000.0),
		"earlyRenewalHours":   property.New(300.0),
	}
}

// leafInputs are those of a certificate that a new authority signs.
func leafInputs(t *testing.T) (inputs values, authority property.Map) {
	t.Helper()
	authorityKey := key(t)
	authority = create(t, selfSigned, authorityInputs(authorityKey))
	asked := create(t, request, values{
		"privateKeyPem": key(t), "subject": named("leaf"), "dnsNames": texts("leaf.test"),
	})
	return values{
		"certRequestPem":      asked.Get("certRequestPem"),
		"caCertPem":           authority.Get("certPem"),
		"caPrivateKeyPem":     authorityKey,
		"allowedUses":         texts("digital_signature", "client_auth"),
		"validityPeriodHours": property.New(100.0),
		"earlyRenewalHours":   property.New(30.0),
	}, authority
}

func TestALeafIsWhatItsAuthoritySigned(t *testing.T) {
	inputs, authorityState := leafInputs(t)
	state := create(t, locallySigned, inputs)
	authority, leaf := certificate(t, authorityState), certificate(t, state)
	if !authority.IsCA || authority.KeyUsage != x509.KeyUsageCertSign || authority.Subject.CommonName != "authority" ||
		authority.Subject.Organization[0] != "Flathub" || authority.MaxPathLen != -1 {
		t.Errorf("the authority is %+v", authority.Subject)
	}
	if leaf.IsCA || leaf.Subject.CommonName != "leaf" || leaf.KeyUsage != x509.KeyUsageDigitalSignature {
		t.Errorf("the leaf is %+v", leaf.Subject)
	}
	roots := x509.NewCertPool()
	roots.AddCert(authority)
	verify := func(name string, use x509.ExtKeyUsage) error {
		_, err := leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, KeyUsages: []x509.ExtKeyUsage{use}})
		return err
	}
	if err := verify("leaf.test", x509.ExtKeyUsageClientAuth); err != nil {
		t.Error(err)
	}
	if verify("other.test", x509.ExtKeyUsageClientAuth) == nil || verify("leaf.test", x509.ExtKeyUsageServerAuth) == nil {
		t.Error("it is good for another name, or for a server")
	}
	if hours := leaf.NotAfter.Sub(leaf.NotBefore).Hours(); hours != 100 {
		t.Errorf("it is valid for %v hours, want 100", hours)
	}
	end, err := time.Parse(time.RFC3339, state.Get("validityEndTime").AsString())
	if err != nil || !end.Equal(leaf.NotAfter) {
		t.Errorf("validityEndTime is %v, %v; the certificate has %v", end, err, leaf.NotAfter)
	}
	if state.Get("readyForRenewal").AsBool() || state.Get("caKeyAlgorithm").AsString() != "ECDSA" {
		t.Errorf("the state is %v", state)
	}
}

func TestOnlyKeysAreSecret(t *testing.T) {
	inputs, authority := leafInputs(t)
	state := create(t, locallySigned, inputs)
	if !authority.Get("privateKeyPem").Secret() || !state.Get("caPrivateKeyPem").Secret() {
		t.Error("a private key is not secret")
	}
	if authority.Get("certPem").Secret() || state.Get("certPem").Secret() || state.Get("validityEndTime").Secret() {
		t.Error("a certificate is secret")
	}
}

func TestACertificateIsReplacedWhenItsLastHoursBegin(t *testing.T) {
	inputs, _ := leafInputs(t)
	state := create(t, locallySigned, inputs)
	end := certificate(t, state).NotAfter
	defer func() { now = time.Now }()
	for _, test := range []struct {
		left    time.Duration
		renewed bool
	}{{31 * time.Hour, false}, {30 * time.Hour, true}, {-time.Hour, true}} {
		now = func() time.Time { return end.Add(-test.left) }
		diff, err := serve(t).Diff(p.DiffRequest{
			ID: "id", Urn: locallySigned, State: state, OldInputs: property.NewMap(inputs), Inputs: property.NewMap(inputs),
		})
		if err != nil {
			t.Fatal(err)
		}
		if (diff.DetailedDiff["readyForRenewal"].Kind == p.UpdateReplace) != test.renewed || diff.HasChanges != test.renewed {
			t.Errorf("with %v left the difference is %v", test.left, diff.DetailedDiff)
		}
		read, err := serve(t).Read(p.ReadRequest{
			ID: "id", Urn: locallySigned, Properties: state, Inputs: property.NewMap(inputs),
		})
		if err != nil {
			t.Fatal(err)
		}
		if read.Properties.Get("readyForRenewal").AsBool() != test.renewed {
			t.Errorf("with %v left readyForRenewal is %t", test.left, !test.renewed)
		}
	}
}

func TestWhatIsInACertificateReplacesIt(t *testing.T) {
	leaf, _ := leafInputs(t)
	for _, test := range []struct {
		urn    resource.URN
		inputs values
		field  string
		value  property.Value
		kind   p.DiffKind
	}{
		{locallySigned, leaf, "validityPeriodHours", property.New(200.0), p.UpdateReplace},
		{locallySigned, leaf, "allowedUses", texts("server_auth"), p.UpdateReplace},
		{locallySigned, leaf, "caCertPem", property.New("other"), p.UpdateReplace},
		{locallySigned, leaf, "caPrivateKeyPem", property.New("other"), p.UpdateReplace},
		{locallySigned, leaf, "certRequestPem", property.New("other"), p.UpdateReplace},
		{locallySigned, leaf, "isCaCertificate", property.New(true), p.UpdateReplace},
		{locallySigned, leaf, "earlyRenewalHours", property.New(20.0), p.Update},
		{selfSigned, authorityInputs(key(t)), "subject", named("other"), p.UpdateReplace},
		{selfSigned, authorityInputs(key(t)), "dnsNames", texts("other.test"), p.UpdateReplace},
		{selfSigned, authorityInputs(key(t)), "privateKeyPem", property.New("other"), p.UpdateReplace},
		{selfSigned, authorityInputs(key(t)), "setAuthorityKeyId", property.New(true), p.UpdateReplace},
		{selfSigned, authorityInputs(key(t)), "earlyRenewalHours", property.New(20.0), p.Update},
	} {
		state := create(t, test.urn, test.inputs)
		inputs := property.NewMap(test.inputs)
		diff, err := serve(t).Diff(p.DiffRequest{
			ID: "id", Urn: test.urn, State: state, OldInputs: inputs, Inputs: inputs.Set(test.field, test.value),
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(diff.DetailedDiff) != 1 || diff.DetailedDiff[test.field].Kind != test.kind {
			t.Errorf("a change of %s is %v, want %s", test.field, diff.DetailedDiff, test.kind)
		}
		if test.kind != p.Update {
			continue
		}
		updated, err := serve(t).Update(p.UpdateRequest{
			ID: "id", Urn: test.urn, State: state, OldInputs: inputs, Inputs: inputs.Set(test.field, test.value),
		})
		if err != nil {
			t.Fatal(err)
		}
		if updated.Properties.Get("certPem").AsString() != state.Get("certPem").AsString() ||
			updated.Properties.Get(test.field).AsNumber() != 20 {
			t.Error("the update made another certificate, or forgot what it was for")
		}
	}
}

func TestRefusesCertificatesByName(t *testing.T) {
	for field, value := range map[string]property.Value{
		"allowedUses":         texts("everything"),
		"validityPeriodHours": property.New(-1.0),
		"earlyRenewalHours":   property.New(-1.0),
		"maxPathLength":       property.New(-2.0),
	} {
		inputs := authorityInputs(property.New("key"))
		inputs[field] = value
		checked, err := serve(t).Check(p.CheckRequest{Urn: selfSigned, Inputs: property.NewMap(inputs)})
		if err != nil {
			t.Fatal(err)
		}
		if len(checked.Failures) != 1 || checked.Failures[0].Property != field {
			t.Errorf("the check says %v, want one failure of %s", checked.Failures, field)
		}
	}
	leaf, _ := leafInputs(t)
	for _, field := range []string{"caCertPem", "caPrivateKeyPem", "certRequestPem"} {
		broken := property.NewMap(leaf).Set(field, property.New("nonsense"))
		_, err := serve(t).Create(p.CreateRequest{Urn: locallySigned, Properties: broken})
		if err == nil || !strings.Contains(err.Error(), field) || strings.Contains(err.Error(), "nonsense") {
			t.Errorf("a broken %s gives %v", field, err)
		}
	}
}

func TestCertificatesHaveEveryFieldOfTheNpmPackage(t *testing.T) {
	leaf, authority := leafInputs(t)
	for _, test := range []struct {
		urn        resource.URN
		file, name string
		state      property.Map
	}{
		{selfSigned, "@pulumi/tls/selfSignedCert.d.ts", "SelfSignedCert", authority},
		{locallySigned, "@pulumi/tls/locallySignedCert.d.ts", "LocallySignedCert", create(t, locallySigned, leaf)},
		{request, "@pulumi/tls/certRequest.d.ts", "CertRequest", create(t, request, values{"privateKeyPem": key(t)})},
	} {
		arguments, err := npm.Fields(test.file, test.name+"Args")
		if err != nil {
			t.Fatal(err)
		}
		outputs, err := npm.Fields(test.file, test.name+"State")
		if err != nil {
			t.Fatal(err)
		}
		for _, field := range append(slices.Clone(arguments), "misspelt") {
			checked, err := serve(t).Check(p.CheckRequest{
				Urn: test.urn, Inputs: property.NewMap(values{field: property.New("value")}),
			})
			if err != nil {
				t.Fatal(err)
			}
			unknown := slices.ContainsFunc(checked.Failures, func(failure p.CheckFailure) bool {
				return failure.Property == field && strings.Contains(failure.Reason, "Unrecognized")
			})
			if unknown != (field == "misspelt") {
				t.Errorf("%s: %s refused as unknown: %t", test.name, field, unknown)
			}
		}
		for field := range test.state.All {
			if !slices.Contains(outputs, field) {
				t.Errorf("%s has the output %s, the npm package does not", test.name, field)
			}
		}
		for _, field := range outputs {
			if _, found := test.state.GetOk(field); !found && !slices.Contains(optional, field) {
				t.Errorf("%s lacks the output %s", test.name, field)
			}
		}
	}
}

// optional are the outputs that are missing where they were not given.
var optional = []string{"dnsNames", "ipAddresses", "uris", "subject"}
