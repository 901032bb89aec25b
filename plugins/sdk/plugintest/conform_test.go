package plugintest_test

import (
	"strings"
	"testing"

	"github.com/guildhall-dev/guildhall/plugins/sdk/plugintest"
)

func TestConform(t *testing.T) {
	t.Parallel()
	r := plugintest.Conform(t.Context(), plugintest.Load(t, plugintest.Options{Dir: folder}), plugintest.Trial{})
	r.Require(t)
	if len(r.Checks) != 17 {
		t.Errorf("%d checks: %v", len(r.Checks), r.Checks)
	}
}

func TestConformFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	r := plugintest.Conform(t.Context(), plugintest.Load(t, plugintest.Options{Dir: "testdata/broken"}), plugintest.Trial{})
	var said strings.Builder
	if err := r.Write(&said); err != nil || r.OK() {
		t.Error(err)
	}
	for _, want := range []string{
		"ok    starts: within",
		"FAIL  hook task.will_create, asked about {}: Internal: panic: as ever",
		"FAIL  hook task.will_change, asked about {}: no answer within its deadline",
		"FAIL  events: the manifest has it, and the plugin answers UNIMPLEMENTED",
		"FAIL  action missing: the manifest has it, and the plugin answers UNIMPLEMENTED",
		"FAIL  inbound exit: it ended: exited with status 3",
		"ok    action flood: answers",
		"FAIL  output: printed",
		"FAIL  memory: it is not running any more",
	} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("the report does not say %q:\n%s", want, said.String())
		}
	}
}
