package pluginpb

// What Guildhall and a plugin agree on before they can speak.
const (
	CookieVariable     = "GUILDHALL_PLUGIN"      // in a plugin's environment when Guildhall started it
	CookieValue        = "guildhall.plugin.v1"   // its value
	ProtocolVersion    = 1                       // of the application protocol, in go-plugin's handshake
	HostSocketVariable = "GUILDHALL_HOST_SOCKET" // names the Unix socket that serves Host
	GrantMetadata      = "guildhall-grant"       // carries Call.grant in every call of Host
)
