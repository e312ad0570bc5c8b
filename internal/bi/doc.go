// Package bi tests what people and BI tools read: the schema analytics, and the
// dashboards and questions made of it.
package bi
