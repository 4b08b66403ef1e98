"""Why a student takes what it takes, what one step in each dimension would buy, and students side by side."""
