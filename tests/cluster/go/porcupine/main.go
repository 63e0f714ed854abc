// Porcupine reads the history of some locks, one operation a line in JSON, and says whether it can be put in an order
// that a fenced mutex allows: see operation and step. What it prints is {"result": "Ok" | "Illegal" | "Unknown", ...}.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/anishathalye/porcupine"
)

// operation is one call of a client, from when it was made until it returned. Where it never did (its process was
// killed), or where nobody saw the end of a lock that ended by itself, Return is null: it may have come at any time.
type operation struct {
	Lock   string `json:"lock"`
	Op     string `json:"op"`     // acquire, held, release, end, begin, write
	Token  int64  `json:"token"`  // of the grant
	Value  int64  `json:"value"`  // that begin read, or write wrote
	Result string `json:"result"` // ok, refused (begin, write), unknown
	Client int    `json:"client"`
	Call   int64  `json:"call"`
	Return *int64 `json:"return"`
}

// state is a lock and the register that it protects.
type state struct {
	Holder int64 // the token of the grant that stands; 0 where there is none
	Newest int64 // the largest token that was granted
	Seen   int64 // the largest token that the register has seen
	Value  int64
}

// step says whether an operation is legal in a state, and what the state is then.
//
//   - acquire grants only what is free, and only a larger token than ever before;
//   - held (the holder was told that it holds) and release (it was told that it held until then) are legal only for
//     the grant that stands; end is a grant that ran out, or whose holder died;
//   - the register refuses exactly those that carry a smaller token than it has seen, and remembers the others'.
//
// Of an operation without a return the result is not known: it is done if it can be. That it never happened is the
// case where it is put last.
func step(before, input, _ any) (bool, any) {
	now, op := before.(state), input.(operation)
	switch op.Op {
	case "acquire":
		if now.Holder != 0 || op.Token <= now.Newest {
			return false, now
		}
		now.Holder, now.Newest = op.Token, op.Token
		return true, now
	case "held":
		return now.Holder == op.Token, now
	case "release", "end":
		if now.Holder != op.Token {
			return op.Result == "unknown", now
		}
		now.Holder = 0
		return true, now
	case "begin", "write":
		admitted := op.Token >= now.Seen
		if op.Result == "unknown" && !admitted {
			return true, now
		}
		if admitted != (op.Result != "refused") {
			return false, now
		}
		if !admitted {
			return true, now
		}
		if op.Op == "begin" && op.Result == "ok" && op.Value != now.Value {
			return false, now
		}
		if op.Op == "write" {
			now.Value = op.Value
		}
		now.Seen = op.Token
		return true, now
	}
	panic(fmt.Sprintf("no such operation: %q", op.Op))
}

var model = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byLock := map[string][]porcupine.Operation{}
		for _, one := range history {
			lock := one.Input.(operation).Lock
			byLock[lock] = append(byLock[lock], one)
		}
		parts := make([][]porcupine.Operation, 0, len(byLock))
		for _, part := range byLock {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return state{} },
	Step: step,
	DescribeOperation: func(input, _ any) string {
		op := input.(operation)
		return fmt.Sprintf("%s(%d) %d %s", op.Op, op.Token, op.Value, op.Result)
	},
}

func main() {
	patience := flag.Duration("timeout", time.Minute, "after which the answer is Unknown")
	picture := flag.String("picture", "", "where to write a page that shows the history")
	flag.Parse()
	var history []porcupine.Operation
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var op operation
		if err := json.Unmarshal(lines.Bytes(), &op); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		end := int64(math.MaxInt64)
		if op.Return != nil {
			end = *op.Return
		}
		history = append(history, porcupine.Operation{ClientId: op.Client, Input: op, Call: op.Call, Return: end})
	}
	if err := lines.Err(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	start := time.Now()
	result, info := porcupine.CheckOperationsVerbose(model, history, *patience)
	if *picture != "" {
		if err := porcupine.VisualizePath(model, info, *picture); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	_ = json.NewEncoder(os.Stdout).Encode(map[string]any{
		"result": result, "operations": len(history), "seconds": time.Since(start).Seconds(),
	})
}
