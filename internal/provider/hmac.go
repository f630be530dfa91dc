package provider

// HMACSchemes are the names of the signing schemes, which package auth has.
var HMACSchemes = []string{"azure-storage", "google-maps", "hawk", "sinch", "worldline"}
