package tls

import (
	"crypto"
	"crypto/rand"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"time"

	p "github.com/pulumi/pulumi-go-provider"
	"golang.org/x/crypto/ssh"
)

// Subject is the npm package's CertRequestSubject and SelfSignedCertSubject.
type Subject struct {
	CommonName         *string  `pulumi:"commonName,optional"`
	Country            *string  `pulumi:"country,optional"`
	EmailAddress       *string  `pulumi:"emailAddress,optional"`
	Locality           *string  `pulumi:"locality,optional"`
	Organization       *string  `pulumi:"organization,optional"`
	OrganizationalUnit *string  `pulumi:"organizationalUnit,optional"`
	PostalCode         *string  `pulumi:"postalCode,optional"`
	Province           *string  `pulumi:"province,optional"`
	SerialNumber       *string  `pulumi:"serialNumber,optional"`
	StreetAddresses    []string `pulumi:"streetAddresses,optional"`
}

func (s *Subject) name() pkix.Name {
	if s == nil {
		return pkix.Name{}
	}
	list := func(value *string) []string {
		if value == nil {
			return nil
		}
		return []string{*value}
	}
	name := pkix.Name{
		Country:            list(s.Country),
		Locality:           list(s.Locality),
		Organization:       list(s.Organization),
		OrganizationalUnit: list(s.OrganizationalUnit),
		PostalCode:         list(s.PostalCode),
		Province:           list(s.Province),
		StreetAddress:      s.StreetAddresses,
	}
	if s.CommonName != nil {
		name.CommonName = *s.CommonName
	}
	if s.SerialNumber != nil {
		name.SerialNumber = *s.SerialNumber
	}
	if s.EmailAddress != nil {
		name.ExtraNames = append(name.ExtraNames, pkix.AttributeTypeAndValue{
			Type: []int{1, 2, 840, 113549, 1, 9, 1}, Value: *s.EmailAddress,
		})
	}
	return name
}

// Names are what a certificate is for beside its subject.
type Names struct {
	DNSNames    []string `pulumi:"dnsNames,optional"`
	IPAddresses []string `pulumi:"ipAddresses,optional"`
	URIs        []string `pulumi:"uris,optional"`
}

func (n Names) parse() (addresses []net.IP, uris []*url.URL, err error) {
	for _, text := range n.IPAddresses {
		address := net.ParseIP(text)
		if address == nil {
			return nil, nil, fmt.Errorf("ipAddresses has %q, expected IP addresses", text)
		}
		addresses = append(addresses, address)
	}
	for _, text := range n.URIs {
		parsed, err := url.Parse(text)
		if err != nil {
			return nil, nil, fmt.Errorf("uris has %q: %w", text, err)
		}
		uris = append(uris, parsed)
	}
	return addresses, uris, nil
}

var keyUsages = map[string]x509.KeyUsage{
	"digital_signature":  x509.KeyUsageDigitalSignature,
	"content_commitment": x509.KeyUsageContentCommitment,
	"key_encipherment":   x509.KeyUsageKeyEncipherment,
	"data_encipherment":  x509.KeyUsageDataEncipherment,
	"key_agreement":      x509.KeyUsageKeyAgreement,
	"cert_signing":       x509.KeyUsageCertSign,
	"crl_signing":        x509.KeyUsageCRLSign,
	"encipher_only":      x509.KeyUsageEncipherOnly,
	"decipher_only":      x509.KeyUsageDecipherOnly,
}

var extendedUsages = map[string]x509.ExtKeyUsage{
	"any_extended":     x509.ExtKeyUsageAny,
	"server_auth":      x509.ExtKeyUsageServerAuth,
	"client_auth":      x509.ExtKeyUsageClientAuth,
	"code_signing":     x509.ExtKeyUsageCodeSigning,
	"email_protection": x509.ExtKeyUsageEmailProtection,
	"timestamping":     x509.ExtKeyUsageTimeStamping,
	"ocsp_signing":     x509.ExtKeyUsageOCSPSigning,
}

// Terms are the inputs that self-signed and locally signed certificates have in common.
type Terms struct {
	AllowedUses []string `pulumi:"allowedUses"`
	// EarlyRenewalHours is how long before its end a certificate is replaced by the next update.
	EarlyRenewalHours   *int  `pulumi:"earlyRenewalHours,optional"`
	IsCaCertificate     *bool `pulumi:"isCaCertificate,optional"`
	MaxPathLength       *int  `pulumi:"maxPathLength,optional"`
	SetSubjectKeyID     *bool `pulumi:"setSubjectKeyId,optional"`
	ValidityPeriodHours int   `pulumi:"validityPeriodHours"`
}

func (t Terms) check() []p.CheckFailure {
	var failures []p.CheckFailure
	for _, use := range t.AllowedUses {
		_, key := keyUsages[use]
		_, extended := extendedUsages[use]
		if !key && !extended {
			failures = append(failures, p.CheckFailure{Property: "allowedUses", Reason: fmt.Sprintf(
				"allowedUses has %q, which is not known here", use)})
		}
	}
	if t.ValidityPeriodHours < 0 {
		failures = append(failures, p.CheckFailure{Property: "validityPeriodHours", Reason: fmt.Sprintf(
			"validityPeriodHours is %d, expected at least 0", t.ValidityPeriodHours)})
	}
	if t.EarlyRenewalHours != nil && *t.EarlyRenewalHours < 0 {
		failures = append(failures, p.CheckFailure{Property: "earlyRenewalHours", Reason: fmt.Sprintf(
			"earlyRenewalHours is %d, expected at least 0", *t.EarlyRenewalHours)})
	}
	if t.MaxPathLength != nil && *t.MaxPathLength < -1 {
		failures = append(failures, p.CheckFailure{Property: "maxPathLength", Reason: fmt.Sprintf(
			"maxPathLength is %d, expected at least -1", *t.MaxPathLength)})
	}
	return failures
}

func (t Terms) withDefaults() Terms {
	zero, none, no := 0, -1, false
	if t.EarlyRenewalHours == nil {
		t.EarlyRenewalHours = &zero
	}
	if t.MaxPathLength == nil {
		t.MaxPathLength = &none
	}
	for _, flag := range []**bool{&t.IsCaCertificate, &t.SetSubjectKeyID} {
		if *flag == nil {
			*flag = &no
		}
	}
	return t
}

// Issued are the outputs that self-signed and locally signed certificates have in common.
type Issued struct {
	CertPem string `pulumi:"certPem"`
	// ReadyForRenewal is whether the certificate is in its last EarlyRenewalHours.
	ReadyForRenewal   bool   `pulumi:"readyForRenewal"`
	ValidityStartTime string `pulumi:"validityStartTime"`
	ValidityEndTime   string `pulumi:"validityEndTime"`
}

// now is the time; tests set it.
var now = time.Now

// renewalDue is whether the last hours of a certificate have begun.
func (i Issued) renewalDue(earlyRenewalHours *int) bool {
	end, err := time.Parse(time.RFC3339, i.ValidityEndTime)
	if err != nil {
		return false
	}
	early := 0
	if earlyRenewalHours != nil {
		early = *earlyRenewalHours
	}
	return !now().Before(end.Add(-time.Duration(early) * time.Hour))
}

// sign fills in the terms and signs; parent is nil for a certificate that signs itself. It returns the certificate's ID,
// which is its serial number.
func (i *Issued) sign(
	terms Terms, template, parent *x509.Certificate, subject crypto.PublicKey, signer crypto.Signer,
) (id string, err error) {
	terms = terms.withDefaults()
	template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
	if err != nil {
		return "", err
	}
	template.NotBefore = now()
	template.NotAfter = template.NotBefore.Add(time.Duration(terms.ValidityPeriodHours) * time.Hour)
	template.BasicConstraintsValid = true
	for _, use := range terms.AllowedUses {
		template.KeyUsage |= keyUsages[use]
		if extended, found := extendedUsages[use]; found {
			template.ExtKeyUsage = append(template.ExtKeyUsage, extended)
		}
	}
	if *terms.IsCaCertificate {
		template.IsCA = true
		template.MaxPathLen = *terms.MaxPathLength
		template.MaxPathLenZero = *terms.MaxPathLength == 0
	}
	// Go gives an authority one whatever is asked for; the official plugin, being written in Go, has that too.
	if *terms.SetSubjectKeyID {
		public, err := x509.MarshalPKIXPublicKey(subject)
		if err != nil {
			return "", err
		}
		sum := sha1.Sum(public)
		template.SubjectKeyId = sum[:]
	}
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, subject, signer)
	if err != nil {
		return "", err
	}
	i.CertPem = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	i.ValidityStartTime = template.NotBefore.Format(time.RFC3339)
	i.ValidityEndTime = template.NotAfter.Format(time.RFC3339)
	i.ReadyForRenewal = false
	return template.SerialNumber.String(), nil
}

// parseKey reads a private key in PEM form and says what the official plugin calls its algorithm.
func parseKey(field, text string) (signer crypto.Signer, algorithm string, err error) {
	key, err := ssh.ParseRawPrivateKey([]byte(text))
	if err != nil {
		return nil, "", fmt.Errorf("%s is no private key in PEM form", field)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, "", fmt.Errorf("%s is a %T, which can't sign", field, key)
	}
	public, err := ssh.NewPublicKey(signer.Public())
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", field, err)
	}
	switch public.Type() {
	case ssh.KeyAlgoED25519:
		algorithm = "ED25519"
	case ssh.KeyAlgoRSA:
		algorithm = "RSA"
	default:
		algorithm = "ECDSA"
	}
	return signer, algorithm, nil
}

// parsePem returns what is in the one block of a PEM text.
func parsePem(field, text, kind string) ([]byte, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("%s is no PEM text with a %s", field, kind)
	}
	return block.Bytes, nil
}
