package launch_test

import (
	"os"
	"strings"
	"testing"

	"github.com/guildhall-dev/guildhall/plugins/sdk/launch"
)

const script = `
import sys
print("good morning", flush=True)
with open("word.txt") as f:
    print(f.read(), file=sys.stderr)
sys.exit(5 if sys.dont_write_bytecode else 4)
`

// TestInterpreter runs a script that reads its own file and ends.
func TestInterpreter(t *testing.T) {
	t.Parallel()
	const python = "/usr/bin/python3"
	if _, err := os.Stat(python); err != nil {
		t.Skip("needs /usr/bin/python3, which make test installs where it may")
	}
	s := spec(t)
	s.Command = launch.Command{Path: python, Args: []string{"main.py"}, Files: map[string][]byte{"main.py": []byte(script), "word.txt": []byte("hear, hear")}}
	if _, err := launch.Start(t.Context(), s); err == nil || !strings.Contains(err.Error(), "exited with status 5: hear, hear") {
		t.Fatal(err)
	}
}
