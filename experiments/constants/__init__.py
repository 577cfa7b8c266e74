"""What the hand-set numbers of the rules that find and follow people are worth: each is changed, one at a time, and people are counted."""
