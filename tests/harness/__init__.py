"""What the suites share: driving a guest, and judging the state it leaves."""
