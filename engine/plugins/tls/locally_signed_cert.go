package tls

import (
	"context"
	"crypto/x509"
	"fmt"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
)

// LocallySignedCert is a certificate that an authority in the same program has signed.
type LocallySignedCert struct{}

// LocallySignedInputs are the npm package's LocallySignedCertArgs.
type LocallySignedInputs struct {
	Terms
	CaCertPem       string `pulumi:"caCertPem"`
	CaPrivateKeyPem string `pulumi:"caPrivateKeyPem" provider:"secret"`
	CertRequestPem  string `pulumi:"certRequestPem"`
}

// LocallySignedOutputs are the inputs with their defaults and the certificate.
type LocallySignedOutputs struct {
	LocallySignedInputs
	Issued
	CaKeyAlgorithm string `pulumi:"caKeyAlgorithm"`
}

// Annotate sets the official plugin's token.
func (c *LocallySignedCert) Annotate(a infer.Annotator) {
	a.SetToken("index/locallySignedCert", "LocallySignedCert")
}

// WireDependencies makes the authority's key secret, and the certificate not.
func (*LocallySignedCert) WireDependencies(f infer.FieldSelector, _ *LocallySignedInputs, out *LocallySignedOutputs) {
	f.OutputField(&out.CaPrivateKeyPem).AlwaysSecret()
	f.OutputField(&out.CertPem).NeverSecret()
}

// Check refuses what can't be made.
func (*LocallySignedCert) Check(
	ctx context.Context, req infer.CheckRequest,
) (infer.CheckResponse[LocallySignedInputs], error) {
	inputs, failures, err := infer.DefaultCheck[LocallySignedInputs](ctx, req.NewInputs)
	if err == nil && len(failures) == 0 && !property.New(req.NewInputs).HasComputed() {
		failures = inputs.check()
	}
	return infer.CheckResponse[LocallySignedInputs]{Inputs: inputs, Failures: failures}, err
}

// Create makes the certificate.
func (*LocallySignedCert) Create(
	_ context.Context, req infer.CreateRequest[LocallySignedInputs],
) (infer.CreateResponse[LocallySignedOutputs], error) {
	state := LocallySignedOutputs{LocallySignedInputs: req.Inputs.withDefaults()}
	if req.DryRun {
		return infer.CreateResponse[LocallySignedOutputs]{Output: state}, nil
	}
	id, err := state.make()
	return infer.CreateResponse[LocallySignedOutputs]{ID: id, Output: state}, err
}

// Update takes over what changes nothing about the certificate.
func (*LocallySignedCert) Update(
	_ context.Context, req infer.UpdateRequest[LocallySignedInputs, LocallySignedOutputs],
) (infer.UpdateResponse[LocallySignedOutputs], error) {
	state := req.State
	state.LocallySignedInputs = req.Inputs.withDefaults()
	return infer.UpdateResponse[LocallySignedOutputs]{Output: state}, nil
}

// Diff replaces the certificate for every change of what is in it, and when its last hours have begun.
func (*LocallySignedCert) Diff(
	_ context.Context, req infer.DiffRequest[LocallySignedInputs, LocallySignedOutputs],
) (p.DiffResponse, error) {
	was, is := req.State.LocallySignedInputs.withDefaults(), req.Inputs.withDefaults()
	changes := termsChanges(was.Terms, is.Terms, req.State.Issued)
	changes.replaceIf("caCertPem", was.CaCertPem != is.CaCertPem)
	changes.replaceIf("caPrivateKeyPem", was.CaPrivateKeyPem != is.CaPrivateKeyPem)
	changes.replaceIf("certRequestPem", was.CertRequestPem != is.CertRequestPem)
	return changes.response(), nil
}

// Read says whether the certificate's last hours have begun.
func (*LocallySignedCert) Read(
	_ context.Context, req infer.ReadRequest[LocallySignedInputs, LocallySignedOutputs],
) (infer.ReadResponse[LocallySignedInputs, LocallySignedOutputs], error) {
	req.State.ReadyForRenewal = req.State.renewalDue(req.State.EarlyRenewalHours)
	return infer.ReadResponse[LocallySignedInputs, LocallySignedOutputs](req), nil
}

func (in LocallySignedInputs) withDefaults() LocallySignedInputs {
	in.Terms = in.Terms.withDefaults()
	return in
}

func (out *LocallySignedOutputs) make() (id string, err error) {
	authorityDer, err := parsePem("caCertPem", out.CaCertPem, "CERTIFICATE")
	if err != nil {
		return "", err
	}
	authority, err := x509.ParseCertificate(authorityDer)
	if err != nil {
		return "", fmt.Errorf("caCertPem: %w", err)
	}
	key, algorithm, err := parseKey("caPrivateKeyPem", out.CaPrivateKeyPem)
	if err != nil {
		return "", err
	}
	requestDer, err := parsePem("certRequestPem", out.CertRequestPem, "CERTIFICATE REQUEST")
	if err != nil {
		return "", err
	}
	request, err := x509.ParseCertificateRequest(requestDer)
	if err != nil {
		return "", fmt.Errorf("certRequestPem: %w", err)
	}
	if err := request.CheckSignature(); err != nil {
		return "", fmt.Errorf("certRequestPem: %w", err)
	}
	out.CaKeyAlgorithm = algorithm
	template := &x509.Certificate{
		Subject:     request.Subject,
		DNSNames:    request.DNSNames,
		IPAddresses: request.IPAddresses,
		URIs:        request.URIs,
	}
	return out.sign(out.Terms, template, authority, request.PublicKey, key)
}
