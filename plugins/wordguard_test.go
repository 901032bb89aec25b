package plugins_test

import (
	"encoding/base64"
	"os/exec"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/guildhall-dev/guildhall/plugins/sdk/pluginpb"
)

// python runs the Python of the system in the folder of the example, or skips
// where that has not what the example needs.
func python(t *testing.T, args ...string) (string, error) {
	t.Helper()
	const interpreter = "/usr/bin/python3"
	if out, err := exec.Command(interpreter, "-c", "import grpc, google.protobuf, cryptography").CombinedOutput(); err != nil {
		t.Skipf("needs the packages python3, python3-grpcio, python3-protobuf and python3-cryptography of the system (%v %s)", err, out)
	}
	cmd := exec.Command(interpreter, append([]string{"-B"}, args...)...)
	cmd.Dir = "examples/wordguard"
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestWordguardInPython(t *testing.T) {
	t.Parallel()
	if out, err := python(t, "-m", "unittest"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// The modules that were generated for Python describe the contract of today.
func TestWordguardSpeaksTheContract(t *testing.T) {
	t.Parallel()
	for module, contract := range map[string]protoreflect.FileDescriptor{
		"plugin_pb2": pluginpb.File_guildhall_plugin_v1_plugin_proto, "host_pb2": pluginpb.File_guildhall_plugin_v1_host_proto,
	} {
		out, err := python(t, "-c", "import base64; from guildhall.plugin.v1 import "+module+" as m; print(base64.b64encode(m.DESCRIPTOR.serialized_pb).decode())")
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(out))
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		var got descriptorpb.FileDescriptorProto
		if err := proto.Unmarshal(raw, &got); err != nil {
			t.Fatal(err)
		}
		want := protodesc.ToFileDescriptorProto(contract)
		withoutJSONNames(got.GetMessageType())
		withoutJSONNames(want.GetMessageType())
		if !proto.Equal(&got, want) {
			t.Errorf("%s.py is not of today's .proto: generate it as plugins/examples/wordguard/README.md says", module)
		}
	}
}

// withoutJSONNames takes out what only some generators write.
func withoutJSONNames(messages []*descriptorpb.DescriptorProto) {
	for _, m := range messages {
		for _, f := range m.GetField() {
			f.JsonName = nil
		}
		withoutJSONNames(m.GetNestedType())
	}
}
