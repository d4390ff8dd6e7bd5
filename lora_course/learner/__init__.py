"""What belongs to one learner and one machine: the record, the progress table, the doctor."""
