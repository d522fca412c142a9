package tls

import (
	"context"
	"crypto/rand"
	"crypto/sha1"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"

	"github.com/pulumi/pulumi-go-provider/infer"
)

// CertRequest is what a key asks to have signed. It has no Update: every change replaces it.
type CertRequest struct{}

// RequestInputs are the npm package's CertRequestArgs.
type RequestInputs struct {
	Names
	PrivateKeyPem string   `pulumi:"privateKeyPem" provider:"secret"`
	Subject       *Subject `pulumi:"subject,optional"`
}

// RequestOutputs are the inputs and the request.
type RequestOutputs struct {
	RequestInputs
	CertRequestPem string `pulumi:"certRequestPem"`
	KeyAlgorithm   string `pulumi:"keyAlgorithm"`
}

// Annotate sets the official plugin's token.
func (c *CertRequest) Annotate(a infer.Annotator) { a.SetToken("index/certRequest", "CertRequest") }

// WireDependencies makes the private key secret, and the request not.
func (*CertRequest) WireDependencies(f infer.FieldSelector, _ *RequestInputs, out *RequestOutputs) {
	f.OutputField(&out.PrivateKeyPem).AlwaysSecret()
	f.OutputField(&out.CertRequestPem).NeverSecret()
}

// Create makes the request. Its ID is its SHA-1.
func (*CertRequest) Create(
	_ context.Context, req infer.CreateRequest[RequestInputs],
) (infer.CreateResponse[RequestOutputs], error) {
	state := RequestOutputs{RequestInputs: req.Inputs}
	if req.DryRun {
		return infer.CreateResponse[RequestOutputs]{Output: state}, nil
	}
	id, err := state.make()
	return infer.CreateResponse[RequestOutputs]{ID: id, Output: state}, err
}

func (out *RequestOutputs) make() (id string, err error) {
	key, algorithm, err := parseKey("privateKeyPem", out.PrivateKeyPem)
	if err != nil {
		return "", err
	}
	addresses, uris, err := out.parse()
	if err != nil {
		return "", err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: out.Subject.name(), DNSNames: out.DNSNames, IPAddresses: addresses, URIs: uris,
	}, key)
	if err != nil {
		return "", err
	}
	out.KeyAlgorithm = algorithm
	out.CertRequestPem = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	sum := sha1.Sum(der)
	return hex.EncodeToString(sum[:]), nil
}
