import * as pulumi from "@pulumi/pulumi";
import * as tls from "@pulumi/tls";

const hoursOfYear = 8766;

/**
 * A certificate is renewed by any deployment in its last year, and the authority's while whatever it signed is still
 * shorter. So remote builders stay in as long as there is one deployment a year; a watch on front warns before.
 */
const validity = {
	authority: { validityPeriodHours: 10 * hoursOfYear, earlyRenewalHours: 3 * hoursOfYear },
	issued: { validityPeriodHours: 2 * hoursOfYear, earlyRenewalHours: hoursOfYear },
};

/** What one end of a worker's connection shows, and what it checks the other end by. */
export interface IssuedCertificate {
	certificatePem: pulumi.Output<string>;
	/** When it ends, as RFC 3339 has it. */
	expires: pulumi.Output<string>;
	/** Secret. */
	privateKeyPem: pulumi.Output<string>;
	/** The authority's own certificate. */
	authorityPem: pulumi.Output<string>;
}

/**
 * The authority for the connections of workers from outside. It signs for nobody else, and its signature alone opens
 * nothing: front lets in what its inventory lists.
 */
export class WorkerAuthority extends pulumi.ComponentResource {
	private readonly key: tls.PrivateKey;
	private readonly certificate: tls.SelfSignedCert;

	constructor(name: string, opts?: pulumi.ComponentResourceOptions) {
		super("flathub:index:WorkerAuthority", name, {}, opts);
		this.key = privateKey(`${name}-key`, { parent: this });
		this.certificate = new tls.SelfSignedCert(
			`${name}-certificate`,
			{
				privateKeyPem: this.key.privateKeyPem,
				subject: { commonName: "Flathub's workers", organization: "Flathub" },
				isCaCertificate: true,
				setSubjectKeyId: true,
				allowedUses: ["cert_signing"],
				...validity.authority,
			},
			{ parent: this },
		);
		this.registerOutputs();
	}

	/** A certificate for front's port, which workers know by a name. */
	issueServer(name: string, dnsName: string): IssuedCertificate {
		return this.issue(name, { subject: { commonName: dnsName }, dnsNames: [dnsName] }, "server_auth");
	}

	/** A certificate for a worker. */
	issueClient(worker: string): IssuedCertificate {
		return this.issue(`${worker}-worker`, { subject: { commonName: worker } }, "client_auth");
	}

	private issue(
		name: string,
		request: Pick<tls.CertRequestArgs, "subject" | "dnsNames">,
		use: "server_auth" | "client_auth",
	): IssuedCertificate {
		const child = { parent: this };
		const key = privateKey(`${name}-key`, child);
		const { certRequestPem } = new tls.CertRequest(
			`${name}-certificate-request`,
			{ privateKeyPem: key.privateKeyPem, ...request },
			child,
		);
		const certificate = new tls.LocallySignedCert(
			`${name}-certificate`,
			{
				certRequestPem,
				caCertPem: this.certificate.certPem,
				caPrivateKeyPem: this.key.privateKeyPem,
				allowedUses: ["digital_signature", use],
				...validity.issued,
			},
			child,
		);
		return {
			certificatePem: certificate.certPem,
			expires: certificate.validityEndTime,
			privateKeyPem: key.privateKeyPemPkcs8,
			authorityPem: this.certificate.certPem,
		};
	}
}

function privateKey(name: string, opts: pulumi.CustomResourceOptions): tls.PrivateKey {
	return new tls.PrivateKey(name, { algorithm: "ECDSA", ecdsaCurve: "P256" }, opts);
}
