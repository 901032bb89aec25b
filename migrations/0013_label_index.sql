-- +goose Up

-- What begins with the project and leaves the label out looks as good as the
-- primary key to a question about one task and a list of labels (Postgres 15,
-- before the table has statistics), and then reads every label of the project.
drop index task_labels_label;
create index task_labels_label on task_labels (tenant_id, label_id, project_id, task_id);
