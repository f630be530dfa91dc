package fault

// toldOfAnswers are the diagnoses of what is told about an upstream's answer. Nobody writes it.
var toldOfAnswers = map[Code]Diagnosis{
	CredentialsRejected: {
		Code: CredentialsRejected, Actor: User,
		Title: "The provider rejects the credential",
		Cause: "The provider says that the key or token is invalid, expired or revoked.",
		Remedy: []string{
			"Make a new key or token at the provider and store it: sallyport credential edit REF.",
			"Check that it belongs to this provider, host and environment.",
		},
	},
	CredentialMisplaced: {
		Code: CredentialMisplaced, Actor: Operator,
		Title: "The key is in the wrong place",
		Cause: "The provider finds no credential where it looks, or not in the form it wants, such as behind a prefix.",
		Remedy: []string{
			"Compare [[provider.place]] (header, query or basic; name; prefix) with the provider's documentation; a report tells what the answer asks for.",
			"Check the request's path too: some gateways answer so to a path that they do not have.",
		},
	},
	InsufficientScope: {
		Code: InsufficientScope, Actor: User,
		Title: "The token lacks a scope",
		Cause: "The provider accepts the token but not for this call: a scope is missing. A refresh cannot add it.",
		Remedy: []string{
			"Authorize again with the missing scope: sallyport credential connect REF; make a new key where nobody consents.",
		},
	},
	InsufficientPermission: {
		Code: InsufficientPermission, Actor: VendorAdmin,
		Title: "The account lacks a permission",
		Cause: "The provider accepts the credential but its account may not do this.",
		Remedy: []string{
			"Ask the account's administrator at the provider for the permission that the answer names.",
		},
	},
	SSORequired: {
		Code: SSORequired, Actor: User,
		Title: "Single sign-on is required",
		Cause: "The organization wants the token authorized for single sign-on.",
		Remedy: []string{
			"Open the link in the provider's answer and authorize the token.",
			"Authorize it where the provider lists the account's tokens if the answer has no link (in GitHub: Configure SSO, beside the token).",
		},
	},
	AppNotVerified: {
		Code: AppNotVerified, Actor: Operator,
		Title: "The app is not verified",
		Cause: "The provider blocks the client because it is not verified, published or approved for this.",
		Remedy: []string{
			"Verify or publish the client in the provider's console, or add the account as a test user.",
			"In Google Cloud, on the page of the OAuth consent screen: publish the app, and for accounts outside of its organization make its user type External.",
		},
	},
	QuotaExceeded: {
		Code: QuotaExceeded, Transient: true, Actor: VendorAdmin,
		Title: "The provider's quota is used up",
		Cause: "The account's or project's quota for this API is spent.",
		Remedy: []string{
			"Wait until it resets, or ask for a larger quota.",
		},
	},
	OrganizationPolicy: {
		Code: OrganizationPolicy, Actor: VendorAdmin,
		Title: "A policy of the organization forbids it",
		Cause: "The organization's policy at the provider refuses this token, client or address.",
		Remedy: []string{
			"Ask the organization's administrator to approve the client, the token or the address.",
			"In Google Workspace the administrator trusts the client under Security, API controls; in GitHub an owner approves it in the organization's settings.",
		},
	},
	UpstreamRateLimited: {
		Code: UpstreamRateLimited, Transient: true, Actor: Nobody,
		Title: "The provider limits the rate",
		Cause: "The provider answers that there were too many calls.",
		Remedy: []string{
			"Wait as long as its answer says.",
			"Set [provider.limits] below the provider's limit so that calls queue here.",
		},
	},
	AccountInactive: {
		Code: AccountInactive, Actor: VendorAdmin,
		Title: "The account is not active",
		Cause: "The provider says that the account or user is deactivated, locked or suspended.",
		Remedy: []string{
			"Ask the account's administrator to activate or unlock it, or use another account.",
		},
	},
	AccountUnpaid: {
		Code: AccountUnpaid, Actor: VendorAdmin,
		Title: "The account is not paid",
		Cause: "The provider refuses because of the account's plan or an unpaid bill.",
		Remedy: []string{
			"Settle the plan or the bill at the provider.",
		},
	},
	WrongSurface: {
		Code: WrongSurface, Actor: Operator,
		Title: "The key belongs to another host, region, mode or account kind",
		Cause: "The provider knows no such resource here, or wants another kind of key: the base URL, the name of the database, or the key's mode or kind is not the one for this.",
		Remedy: []string{
			"Check the base URL, region and API path of the provider entry or the credential's url; of a database its name.",
			"Check the kind of the key: live or test, secret or publishable, of a person or of an app.",
		},
	},
	APIDisabled: {
		Code: APIDisabled, Actor: VendorAdmin,
		Title: "The API is switched off",
		Cause: "The API is not enabled for the project or edition at the provider.",
		Remedy: []string{
			"Enable it in the provider's console.",
		},
	},
	ExpiresSoon: {
		Code: ExpiresSoon, Actor: User,
		Title: "The credential ends soon",
		Cause: "The credential works, but it ends within [checks] expiry_warning, and nothing renews it.",
		Remedy: []string{
			"Make a new one at the provider before that day and store it: sallyport credential edit REF; for a grant, sallyport credential connect REF.",
		},
	},
	ResourceNotShared: {
		Code: ResourceNotShared, Actor: VendorAdmin,
		Title: "The resource is not shared with the account",
		Cause: "The credential works but this object is not visible to it.",
		Remedy: []string{
			"Share the object with the account or integration that the credential belongs to (in Slack, invite the app to the channel: /invite @APP).",
		},
	},
}
