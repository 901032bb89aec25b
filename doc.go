// Package guildhall is the root of the product's tree. It holds no code but
// the tests of its architecture: who may import whom (arch_test.go) and the
// rules of its data (sql_test.go).
package guildhall
