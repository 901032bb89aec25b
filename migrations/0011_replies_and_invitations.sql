-- Replies about many projects, and how often strangers are written to.
-- +goose Up

-- A reply that shows rows of several projects is replayed only to who still
-- sees all of them.
alter table idempotency_keys add column project_ids uuid[];
