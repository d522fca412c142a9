// Package tls stands in for Pulumi's tls plugin: the resources PrivateKey, SelfSignedCert, CertRequest and
// LocallySignedCert, with the tokens, inputs and outputs of the npm package @pulumi/tls 5.5.1.
package tls

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
	"golang.org/x/crypto/ssh"
)

// Provider serves the resources.
func Provider() (p.Provider, error) {
	return infer.NewProviderBuilder().WithResources(
		infer.Resource(&PrivateKey{}),
		infer.Resource(&SelfSignedCert{}),
		infer.Resource(&CertRequest{}),
		infer.Resource(&LocallySignedCert{}),
	).Build()
}

// PrivateKey is a key pair, kept in the stack's state. It has no Update: every change replaces it.
type PrivateKey struct{}

// KeyInputs are the npm package's PrivateKeyArgs.
type KeyInputs struct {
	// Algorithm is ED25519, ECDSA or RSA.
	Algorithm string `pulumi:"algorithm"`
	// EcdsaCurve is P256, P384 or P521, and means something for ECDSA only. P224, the default, is refused there: it has no
	// OpenSSH form.
	EcdsaCurve *string `pulumi:"ecdsaCurve,optional"`
	// RsaBits is the size of an RSA key, 2048 by default, and means something for RSA only.
	RsaBits *int `pulumi:"rsaBits,optional"`
}

// KeyOutputs are the inputs with their defaults, the secret key and the public one in several forms.
type KeyOutputs struct {
	KeyInputs
	PrivateKeyOpenssh          string `pulumi:"privateKeyOpenssh" provider:"secret"`
	PrivateKeyPem              string `pulumi:"privateKeyPem" provider:"secret"`
	PrivateKeyPemPkcs8         string `pulumi:"privateKeyPemPkcs8" provider:"secret"`
	PublicKeyOpenssh           string `pulumi:"publicKeyOpenssh"`
	PublicKeyPem               string `pulumi:"publicKeyPem"`
	PublicKeyFingerprintMd5    string `pulumi:"publicKeyFingerprintMd5"`
	PublicKeyFingerprintSha256 string `pulumi:"publicKeyFingerprintSha256"`
}

// Annotate sets the official plugin's token.
func (k *PrivateKey) Annotate(a infer.Annotator) { a.SetToken("index/privateKey", "PrivateKey") }

// WireDependencies makes the private forms secret whatever the inputs are.
func (*PrivateKey) WireDependencies(f infer.FieldSelector, _ *KeyInputs, out *KeyOutputs) {
	f.OutputField(&out.PrivateKeyOpenssh).AlwaysSecret()
	f.OutputField(&out.PrivateKeyPem).AlwaysSecret()
	f.OutputField(&out.PrivateKeyPemPkcs8).AlwaysSecret()
}

var curves = map[string]elliptic.Curve{"P256": elliptic.P256(), "P384": elliptic.P384(), "P521": elliptic.P521()}

// Check refuses what can't be made.
func (*PrivateKey) Check(ctx context.Context, req infer.CheckRequest) (infer.CheckResponse[KeyInputs], error) {
	inputs, failures, err := infer.DefaultCheck[KeyInputs](ctx, req.NewInputs)
	if err != nil || len(failures) > 0 || property.New(req.NewInputs).HasComputed() {
		return infer.CheckResponse[KeyInputs]{Inputs: inputs, Failures: failures}, err
	}
	full := inputs.withDefaults()
	_, known := curves[*full.EcdsaCurve]
	switch full.Algorithm {
	case "ED25519":
	case "ECDSA":
		if !known {
			failures = append(failures, p.CheckFailure{Property: "ecdsaCurve", Reason: fmt.Sprintf(
				"ecdsaCurve is %s, expected P256, P384 or P521", *full.EcdsaCurve)})
		}
	case "RSA":
		if *full.RsaBits < 2048 || *full.RsaBits > 8192 {
			failures = append(failures, p.CheckFailure{Property: "rsaBits", Reason: fmt.Sprintf(
				"rsaBits is %d, expected 2048 to 8192", *full.RsaBits)})
		}
	default:
		failures = append(failures, p.CheckFailure{Property: "algorithm", Reason: fmt.Sprintf(
			"algorithm is %q, expected ED25519, ECDSA or RSA", full.Algorithm)})
	}
	return infer.CheckResponse[KeyInputs]{Inputs: inputs, Failures: failures}, nil
}

// Create makes the key. Its ID is the SHA-1 of its public half.
func (*PrivateKey) Create(
	_ context.Context, req infer.CreateRequest[KeyInputs],
) (infer.CreateResponse[KeyOutputs], error) {
	state := KeyOutputs{KeyInputs: req.Inputs.withDefaults()}
	if req.DryRun {
		return infer.CreateResponse[KeyOutputs]{Output: state}, nil
	}
	key, block, err := state.generate()
	if err != nil {
		return infer.CreateResponse[KeyOutputs]{}, err
	}
	id, err := state.encode(key, block)
	return infer.CreateResponse[KeyOutputs]{ID: id, Output: state}, err
}

func (in KeyInputs) withDefaults() KeyInputs {
	if in.EcdsaCurve == nil {
		curve := "P224"
		in.EcdsaCurve = &curve
	}
	if in.RsaBits == nil {
		bits := 2048
		in.RsaBits = &bits
	}
	return in
}

// generate returns the key and its traditional PEM form, which differs by algorithm.
func (in KeyInputs) generate() (crypto.Signer, *pem.Block, error) {
	switch in.Algorithm {
	case "ED25519":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, nil, err
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		return key, &pem.Block{Type: "PRIVATE KEY", Bytes: der}, err
	case "ECDSA":
		key, err := ecdsa.GenerateKey(curves[*in.EcdsaCurve], rand.Reader)
		if err != nil {
			return nil, nil, err
		}
		der, err := x509.MarshalECPrivateKey(key)
		return key, &pem.Block{Type: "EC PRIVATE KEY", Bytes: der}, err
	default:
		key, err := rsa.GenerateKey(rand.Reader, *in.RsaBits)
		if err != nil {
			return nil, nil, err
		}
		return key, &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}, nil
	}
}

func (out *KeyOutputs) encode(key crypto.Signer, traditional *pem.Block) (id string, err error) {
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	openssh, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		return "", err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return "", err
	}
	sshPublic, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		return "", err
	}
	out.PrivateKeyPem = string(pem.EncodeToMemory(traditional))
	out.PrivateKeyPemPkcs8 = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	out.PrivateKeyOpenssh = string(pem.EncodeToMemory(openssh))
	out.PublicKeyPem = string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))
	out.PublicKeyOpenssh = string(ssh.MarshalAuthorizedKey(sshPublic))
	out.PublicKeyFingerprintMd5 = ssh.FingerprintLegacyMD5(sshPublic)
	out.PublicKeyFingerprintSha256 = ssh.FingerprintSHA256(sshPublic)
	sum := sha1.Sum(public)
	return hex.EncodeToString(sum[:]), nil
}
