package event

// ActorRef is read from row(kind, id): where many rows name their actor, a
// record costs a fraction of an object that Postgres writes and Go parses.

// ScanNull implements pgtype.CompositeIndexScanner.
func (a *ActorRef) ScanNull() error {
	*a = ActorRef{}
	return nil
}

// ScanIndex implements pgtype.CompositeIndexScanner.
func (a *ActorRef) ScanIndex(i int) any {
	switch i {
	case 0:
		return &a.Type
	case 1:
		return &a.ID
	}
	return nil
}
