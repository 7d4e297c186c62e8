"""Identity without I/O: certificates, requests for them, chains, bundles and tokens. Time and serials are arguments."""
