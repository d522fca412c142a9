package tls

import (
	"context"
	"crypto/x509"
	"reflect"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
)

// SelfSignedCert is a certificate that its own key has signed, such as an authority's.
type SelfSignedCert struct{}

// SelfSignedInputs are the npm package's SelfSignedCertArgs.
type SelfSignedInputs struct {
	Terms
	Names
	PrivateKeyPem     string   `pulumi:"privateKeyPem" provider:"secret"`
	SetAuthorityKeyID *bool    `pulumi:"setAuthorityKeyId,optional"`
	Subject           *Subject `pulumi:"subject,optional"`
}

// SelfSignedOutputs are the inputs with their defaults and the certificate.
type SelfSignedOutputs struct {
	SelfSignedInputs
	Issued
	KeyAlgorithm string `pulumi:"keyAlgorithm"`
}

// Annotate sets the official plugin's token.
func (c *SelfSignedCert) Annotate(a infer.Annotator) {
	a.SetToken("index/selfSignedCert", "SelfSignedCert")
}

// WireDependencies makes the private key secret, and the certificate not.
func (*SelfSignedCert) WireDependencies(f infer.FieldSelector, _ *SelfSignedInputs, out *SelfSignedOutputs) {
	f.OutputField(&out.PrivateKeyPem).AlwaysSecret()
	f.OutputField(&out.CertPem).NeverSecret()
}

// Check refuses what can't be made.
func (*SelfSignedCert) Check(
	ctx context.Context, req infer.CheckRequest,
) (infer.CheckResponse[SelfSignedInputs], error) {
	inputs, failures, err := infer.DefaultCheck[SelfSignedInputs](ctx, req.NewInputs)
	if err == nil && len(failures) == 0 && !property.New(req.NewInputs).HasComputed() {
		failures = inputs.check()
	}
	return infer.CheckResponse[SelfSignedInputs]{Inputs: inputs, Failures: failures}, err
}

// Create makes the certificate.
func (*SelfSignedCert) Create(
	_ context.Context, req infer.CreateRequest[SelfSignedInputs],
) (infer.CreateResponse[SelfSignedOutputs], error) {
	state := SelfSignedOutputs{SelfSignedInputs: req.Inputs.withDefaults()}
	if req.DryRun {
		return infer.CreateResponse[SelfSignedOutputs]{Output: state}, nil
	}
	id, err := state.make()
	return infer.CreateResponse[SelfSignedOutputs]{ID: id, Output: state}, err
}

// Update takes over what changes nothing about the certificate.
func (*SelfSignedCert) Update(
	_ context.Context, req infer.UpdateRequest[SelfSignedInputs, SelfSignedOutputs],
) (infer.UpdateResponse[SelfSignedOutputs], error) {
	state := req.State
	state.SelfSignedInputs = req.Inputs.withDefaults()
	return infer.UpdateResponse[SelfSignedOutputs]{Output: state}, nil
}

// Diff replaces the certificate for every change of what is in it, and when its last hours have begun.
func (*SelfSignedCert) Diff(
	_ context.Context, req infer.DiffRequest[SelfSignedInputs, SelfSignedOutputs],
) (p.DiffResponse, error) {
	was, is := req.State.SelfSignedInputs.withDefaults(), req.Inputs.withDefaults()
	changes := termsChanges(was.Terms, is.Terms, req.State.Issued)
	changes.replaceIf("dnsNames", !sameList(was.DNSNames, is.DNSNames))
	changes.replaceIf("ipAddresses", !sameList(was.IPAddresses, is.IPAddresses))
	changes.replaceIf("uris", !sameList(was.URIs, is.URIs))
	changes.replaceIf("privateKeyPem", was.PrivateKeyPem != is.PrivateKeyPem)
	changes.replaceIf("setAuthorityKeyId", *was.SetAuthorityKeyID != *is.SetAuthorityKeyID)
	changes.replaceIf("subject", !reflect.DeepEqual(was.Subject, is.Subject))
	return changes.response(), nil
}

// Read says whether the certificate's last hours have begun.
func (*SelfSignedCert) Read(
	_ context.Context, req infer.ReadRequest[SelfSignedInputs, SelfSignedOutputs],
) (infer.ReadResponse[SelfSignedInputs, SelfSignedOutputs], error) {
	req.State.ReadyForRenewal = req.State.renewalDue(req.State.EarlyRenewalHours)
	return infer.ReadResponse[SelfSignedInputs, SelfSignedOutputs](req), nil
}

func (in SelfSignedInputs) withDefaults() SelfSignedInputs {
	in.Terms = in.Terms.withDefaults()
	if in.SetAuthorityKeyID == nil {
		no := false
		in.SetAuthorityKeyID = &no
	}
	return in
}

func (out *SelfSignedOutputs) make() (id string, err error) {
	key, algorithm, err := parseKey("privateKeyPem", out.PrivateKeyPem)
	if err != nil {
		return "", err
	}
	addresses, uris, err := out.parse()
	if err != nil {
		return "", err
	}
	out.KeyAlgorithm = algorithm
	template := &x509.Certificate{
		Subject: out.Subject.name(), DNSNames: out.DNSNames, IPAddresses: addresses, URIs: uris,
	}
	return out.sign(out.Terms, template, nil, key.Public(), key)
}
