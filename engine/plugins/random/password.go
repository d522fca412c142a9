// Package random stands in for Pulumi's random plugin: the resource RandomPassword, with the token, inputs and outputs
// of the npm package @pulumi/random 4.21.1.
package random

import (
	"context"
	"crypto/rand"
	"fmt"
	"math/big"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
	"golang.org/x/crypto/bcrypt"
)

// Provider serves the resource.
func Provider() (p.Provider, error) {
	return infer.NewProviderBuilder().WithResources(infer.Resource(&RandomPassword{})).Build()
}

// RandomPassword is a password from a cryptographic source. It has no Update: every change replaces it.
type RandomPassword struct{}

// PasswordInputs are the npm package's RandomPasswordArgs.
type PasswordInputs struct {
	// Length is in characters, at least 1.
	Length int `pulumi:"length"`
	// Keepers replace the password when they change, and mean nothing else.
	Keepers    map[string]string `pulumi:"keepers,optional"`
	Lower      *bool             `pulumi:"lower,optional"`
	Upper      *bool             `pulumi:"upper,optional"`
	Numeric    *bool             `pulumi:"numeric,optional"`
	Number     *bool             `pulumi:"number,optional"`
	Special    *bool             `pulumi:"special,optional"`
	MinLower   *int              `pulumi:"minLower,optional"`
	MinUpper   *int              `pulumi:"minUpper,optional"`
	MinNumeric *int              `pulumi:"minNumeric,optional"`
	MinSpecial *int              `pulumi:"minSpecial,optional"`
	// OverrideSpecial are the special characters to choose from.
	OverrideSpecial *string `pulumi:"overrideSpecial,optional"`
}

// PasswordOutputs are the inputs with their defaults and the secret results.
type PasswordOutputs struct {
	PasswordInputs
	Result     string `pulumi:"result" provider:"secret"`
	BcryptHash string `pulumi:"bcryptHash" provider:"secret"`
}

// Annotate sets the official plugin's token.
func (r *RandomPassword) Annotate(a infer.Annotator) {
	a.SetToken("index/randomPassword", "RandomPassword")
}

// WireDependencies makes the results secret whatever the inputs are.
func (*RandomPassword) WireDependencies(f infer.FieldSelector, _ *PasswordInputs, out *PasswordOutputs) {
	f.OutputField(&out.Result).AlwaysSecret()
	f.OutputField(&out.BcryptHash).AlwaysSecret()
}

const (
	lower   = "abcdefghijklmnopqrstuvwxyz"
	upper   = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	numeric = "0123456789"
	special = "!@#$%&*()-_=+[]{}<>:?"
)

// Check refuses what can't be met.
func (*RandomPassword) Check(ctx context.Context, req infer.CheckRequest) (infer.CheckResponse[PasswordInputs], error) {
	inputs, failures, err := infer.DefaultCheck[PasswordInputs](ctx, req.NewInputs)
	if err != nil || len(failures) > 0 || property.New(req.NewInputs).HasComputed() {
		return infer.CheckResponse[PasswordInputs]{Inputs: inputs, Failures: failures}, err
	}
	if inputs.Number != nil && inputs.Numeric != nil && *inputs.Number != *inputs.Numeric {
		failures = append(failures, p.CheckFailure{
			Property: "number", Reason: "number is the old name of numeric; the two say different things",
		})
	}
	needed, alphabet := 0, 0
	for _, class := range inputs.classes() {
		if class.atLeast < 0 {
			failures = append(failures, p.CheckFailure{Property: class.minimum, Reason: class.minimum + " is negative"})
		}
		if class.atLeast > 0 && class.characters == "" {
			failures = append(failures, p.CheckFailure{
				Property: class.minimum, Reason: class.minimum + " is set, but such characters are not allowed",
			})
		}
		needed += class.atLeast
		alphabet += len(class.characters)
	}
	if inputs.Length < 1 || inputs.Length < needed {
		failures = append(failures, p.CheckFailure{Property: "length", Reason: fmt.Sprintf(
			"length is %d, expected at least 1 and the sum of all minimums, which is %d", inputs.Length, needed)})
	}
	if alphabet == 0 {
		failures = append(failures, p.CheckFailure{
			Property: "lower", Reason: "lower, upper, numeric and special are all off: no character is left to choose from",
		})
	}
	return infer.CheckResponse[PasswordInputs]{Inputs: inputs, Failures: failures}, nil
}

// Create makes the password. Its ID is the same for all, as the official plugin's is: an ID is not secret.
func (*RandomPassword) Create(
	_ context.Context, req infer.CreateRequest[PasswordInputs],
) (infer.CreateResponse[PasswordOutputs], error) {
	state := PasswordOutputs{PasswordInputs: req.Inputs.withDefaults()}
	if req.DryRun {
		return infer.CreateResponse[PasswordOutputs]{Output: state}, nil
	}
	var err error
	if state.Result, err = state.generate(); err != nil {
		return infer.CreateResponse[PasswordOutputs]{}, err
	}
	// bcrypt takes no more than 72 bytes.
	hash, err := bcrypt.GenerateFromPassword([]byte(state.Result)[:min(72, len(state.Result))], bcrypt.DefaultCost)
	state.BcryptHash = string(hash)
	return infer.CreateResponse[PasswordOutputs]{ID: "none", Output: state}, err
}

type class struct {
	minimum    string
	characters string
	atLeast    int
}

func (in PasswordInputs) classes() []class {
	in = in.withDefaults()
	letters := func(allowed *bool, characters string) string {
		if *allowed {
			return characters
		}
		return ""
	}
	specials := special
	if in.OverrideSpecial != nil && *in.OverrideSpecial != "" {
		specials = *in.OverrideSpecial
	}
	return []class{
		{"minLower", letters(in.Lower, lower), *in.MinLower},
		{"minUpper", letters(in.Upper, upper), *in.MinUpper},
		{"minNumeric", letters(in.Numeric, numeric), *in.MinNumeric},
		{"minSpecial", letters(in.Special, specials), *in.MinSpecial},
	}
}

func (in PasswordInputs) withDefaults() PasswordInputs {
	if in.Numeric == nil {
		in.Numeric = in.Number
	}
	for _, allowed := range []**bool{&in.Lower, &in.Upper, &in.Numeric, &in.Special} {
		if *allowed == nil {
			yes := true
			*allowed = &yes
		}
	}
	in.Number = in.Numeric
	for _, minimum := range []**int{&in.MinLower, &in.MinUpper, &in.MinNumeric, &in.MinSpecial} {
		if *minimum == nil {
			zero := 0
			*minimum = &zero
		}
	}
	return in
}

// generate fills the minimums, then the rest from all classes, and shuffles.
func (in PasswordInputs) generate() (string, error) {
	var password []byte
	var all string
	for _, class := range in.classes() {
		all += class.characters
		for range class.atLeast {
			index, err := below(len(class.characters))
			if err != nil {
				return "", err
			}
			password = append(password, class.characters[index])
		}
	}
	for len(password) < in.Length {
		index, err := below(len(all))
		if err != nil {
			return "", err
		}
		password = append(password, all[index])
	}
	for last := len(password) - 1; last > 0; last-- {
		index, err := below(last + 1)
		if err != nil {
			return "", err
		}
		password[last], password[index] = password[index], password[last]
	}
	return string(password), nil
}

func below(limit int) (int, error) {
	number, err := rand.Int(rand.Reader, big.NewInt(int64(limit)))
	if err != nil {
		return 0, err
	}
	return int(number.Int64()), nil
}
