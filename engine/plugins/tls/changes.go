package tls

import (
	"slices"

	p "github.com/pulumi/pulumi-go-provider"
)

// changes are the properties that differ, and what becomes of the certificate for each.
type changes map[string]p.PropertyDiff

func (c changes) replaceIf(property string, changed bool) {
	if changed {
		c[property] = p.PropertyDiff{Kind: p.UpdateReplace}
	}
}

func (c changes) response() p.DiffResponse {
	return p.DiffResponse{HasChanges: len(c) > 0, DetailedDiff: c}
}

// termsChanges compares terms with their defaults filled in. A certificate whose last hours have begun is replaced as if
// an input had changed, which is how the official plugin renews.
func termsChanges(was, is Terms, issued Issued) changes {
	found := changes{}
	found.replaceIf("allowedUses", !slices.Equal(was.AllowedUses, is.AllowedUses))
	found.replaceIf("isCaCertificate", *was.IsCaCertificate != *is.IsCaCertificate)
	found.replaceIf("maxPathLength", *was.MaxPathLength != *is.MaxPathLength)
	found.replaceIf("setSubjectKeyId", *was.SetSubjectKeyID != *is.SetSubjectKeyID)
	found.replaceIf("validityPeriodHours", was.ValidityPeriodHours != is.ValidityPeriodHours)
	if *was.EarlyRenewalHours != *is.EarlyRenewalHours {
		found["earlyRenewalHours"] = p.PropertyDiff{Kind: p.Update}
	}
	found.replaceIf("readyForRenewal", issued.renewalDue(is.EarlyRenewalHours))
	return found
}

// sameList compares lists of which a missing one is the same as an empty one.
func sameList(a, b []string) bool {
	return len(a) == 0 && len(b) == 0 || slices.Equal(a, b)
}
