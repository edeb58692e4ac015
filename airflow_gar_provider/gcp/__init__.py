"""How Google is spoken to: one class per service, one method per call. No decisions here."""
