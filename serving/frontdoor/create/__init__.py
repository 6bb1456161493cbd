"""How a wish becomes a durable job: drafted, validated, its media taken in, settled, admitted, written down."""
