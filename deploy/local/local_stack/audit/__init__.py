"""What was decided against what every tool and the gate hold."""
