// Prints the findings of both linters in one form, one a line, and their counts.
// Usage: node report.mjs DIR, DIR holding spectral.json and redocly.json (and the .log files beside them).
// Exit status: 0 no errors, 1 errors, 2 a linter left no result.
import { readFileSync } from "node:fs";
import { join } from "node:path";

const dir = process.argv[2];

function read(tool) {
  try {
    return JSON.parse(readFileSync(join(dir, `${tool}.json`), "utf8"));
  } catch (err) {
    console.error(`${tool} gave no result: ${err.message}`);
    console.error(readFileSync(join(dir, `${tool}.log`), "utf8"));
    process.exit(2);
  }
}

const pointer = (path) => "#" + path.map((p) => "/" + String(p).replaceAll("~", "~0").replaceAll("/", "~1")).join("");

const spectral = read("spectral").map((f) => ({
  tool: "spectral",
  // Severities are 0 error, 1 warning, 2 information, 3 hint. A file that no rule applies to is only a warning to
  // Spectral; here it would be a check that checked nothing.
  severity: f.code === "unrecognized-format" ? "error" : (["error", "warning"][f.severity] ?? "info"),
  rule: f.code,
  where: pointer(f.path),
  message: f.message,
}));

const redocly = read("redocly").problems.map((f) => ({
  tool: "redocly",
  severity: f.severity === "warn" ? "warning" : f.severity,
  rule: f.ruleId,
  where: f.location[0]?.pointer ?? "#/",
  message: f.message,
}));

let errors = 0;
for (const [tool, findings] of Object.entries({ spectral, redocly })) {
  const count = { error: 0, warning: 0, info: 0 };
  for (const f of findings) {
    count[f.severity]++;
    console.log(`${f.severity.padEnd(7)} ${f.tool} ${f.rule} ${f.where} ${f.message.replaceAll("\n", " ")}`);
  }
  errors += count.error;
  console.log(`${tool}: ${count.error} errors, ${count.warning} warnings, ${count.info} notes`);
}
console.log(`openapi-lint: ${errors} errors`);
process.exitCode = errors > 0 ? 1 : 0;
