-- +goose Up

-- A label belongs to one project, so the project in this index told nothing
-- more. It also made the index look as good as the primary key to a question
-- about one task and a list of labels (Postgres 15, before the table has
-- statistics), which then read every label of the task's project.
drop index task_labels_label;
create index task_labels_label on task_labels (tenant_id, label_id, task_id);
