// Package comments is what people say about a task: threads of one level,
// mentions, reactions and the history of edits.
//
//	written ──edit, by its author──> written, the earlier text kept
//	   └──delete, by its author or a lead──> deleted: the text, its history and
//	      reactions are gone; the row stays while replies hang on it
//
// A comment is seen by whoever sees its task, so every statement joins tasks
// and project_access: there is no way to a comment but through its project.
// Contributors and leads write; viewers read; nobody writes in an archived
// project. Visibility says whether a customer may be shown the comment. It is
// said once, when the comment is written: what a customer has seen cannot be
// unseen.
package comments
