// Package projects holds the plans of an organisation: who may see them, who
// works in them, and the states that their tasks pass through.
//
//	active <-> archived        PATCH status; an archived project can be read, its tasks cannot be changed
//	   |          |
//	 DELETE     DELETE
//	   v          v
//	  in the trash  --restore within 30 days--> as it was
//	   |
//	 30 days
//	   v
//	 purged: the rows are gone, its events keep who and when but not what
//
// A right needs both the organisation's permission and the role in the
// project. The role is decided once, in SQL, by the views project_sight and
// project_access (migrations/0004_projects.sql): in an open project members of
// the organisation are contributors and its admins leads unless they are named
// in it; guests must be named; a private project exists only for those who are
// named. Who may not see a project gets 404, who may not change it 403.
//
// Whatever changes a project, its members or its states locks the project's
// row first, so that "the last lead" and "the default state" are one at a time.
package projects
