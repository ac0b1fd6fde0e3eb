-- Views that version 5 made as the last instant of a view with a parameter, and what those ask in their turn: see
-- store/present_views.py for how AS THE PRESENT OF is written out, and why.
CREATE OR REPLACE VIEW identity_facts AS THE PRESENT OF identity_facts_as_of;
CREATE OR REPLACE VIEW identity_links AS THE PRESENT OF identity_links_as_of;
CREATE OR REPLACE VIEW identity_persons AS THE PRESENT OF identity_persons_as_of;
CREATE OR REPLACE VIEW identity_edges AS THE PRESENT OF identity_edges_as_of;
CREATE OR REPLACE VIEW merged_users AS THE PRESENT OF merged_users_as_of;
CREATE OR REPLACE VIEW sole_owners AS THE PRESENT OF sole_owners_as_of;
CREATE OR REPLACE VIEW anonymous_id_owners AS THE PRESENT OF anonymous_id_owners_as_of;
CREATE OR REPLACE VIEW events_resolved_v AS THE PRESENT OF events_resolved_as_of;
CREATE OR REPLACE VIEW persons_v AS THE PRESENT OF persons_as_of;
